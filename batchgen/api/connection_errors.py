"""Says what a network error means for an attempt. Knows aiohttp's errors, as nobody else does."""

from __future__ import annotations

import os
import ssl

import aiohttp

from batchgen.api.exchange import NotHttp, Sendings
from batchgen.api.failure_kinds import Kind, Scope, status_policy
from batchgen.api.outcome import Failure

WRONG_LOGIN = frozenset({401, 407})
"""What proxies answer to a wrong password: 407 by RFC 9110, 401 as tinyproxy has it."""
_NAME_IT = "name the one to trust in endpoint.ca_file"
_CERTIFICATE_ADVICE = {
    **dict.fromkeys((18, 19, 20, 21), _NAME_IT),  # nobody known has signed it
    **dict.fromkeys((9, 10), "it must be renewed on the server, or this machine's clock is wrong"),
    **dict.fromkeys((62, 64), "check endpoint.url: it is another host's"),
}
"""What to do, by X509_V_ERR_* of OpenSSL."""
_ISSUE_ANEW = "it must be issued anew: Python 3.13 and later take none that lacks what RFC 5280 asks for"


def failure_of(error: Exception, sendings: Sendings) -> Failure:
    """Returns the failure of an attempt that ended with a network error. What lies in the job, the proxy or
    the server's certificate is systematic: the next attempt would meet it, too."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Failure(Kind.UNSENT, _untrusted(error.certificate_error), is_systematic=True)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _refused_by_proxy(error.status, error.message)
    if isinstance(error, aiohttp.ClientResponseError):  # from a proxy: what a server sends so is a NotHttp
        return Failure(Kind.UNSENT, "what endpoint.proxy names is no proxy: it sends no HTTP", is_systematic=True)
    never_left = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    if never_left or sendings.sent == sendings.lost:
        return Failure(Kind.UNSENT, f"no connection: {_reason(error)}", is_systematic=_is_refused_handshake(error))
    return Failure(Kind.UNANSWERED, f"the connection broke before the answer was whole: {_reason(error)}")


def _untrusted(error: Exception) -> str:
    why = getattr(error, "verify_message", "") or str(error)
    advice = _CERTIFICATE_ADVICE.get(getattr(error, "verify_code", 0), _ISSUE_ANEW)
    return f"the server's certificate is not trusted ({why}): {advice}"


def _refused_by_proxy(status: int, reason: str) -> Failure:
    """Returns the failure for a proxy's answer to CONNECT. Whether a server that is away comes back, waiting shows."""
    if status in WRONG_LOGIN:
        return Failure(Kind.PROXY, "the proxy wants a user name and a password, or other ones", status)
    refused = f"the proxy refuses: {status} {reason}".rstrip()
    if status_policy(status).kind.policy.scope is Scope.SERVER:
        return Failure(Kind.UNSENT, refused)
    advice = "check endpoint.proxy, and whether it lets endpoint.url through"
    return Failure(Kind.UNSENT, f"{refused}: {advice}", is_systematic=True)


def _is_refused_handshake(error: Exception) -> bool:
    """Returns whether the two sides have no TLS in common. A connection that ends in the handshake may be a server that
    is about to start."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorSSLError) else None
    return isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError)


def _reason(error: Exception) -> str:
    """Says what went wrong. Never uses `repr`: that of aiohttp's response errors shows the request's headers, and so
    the key."""
    if isinstance(error, NotHttp):
        return f"what came is no HTTP ({error})"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "none within timeout.connect"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{error.host}:{error.port}: {_of_system(error.os_error)}"
    return type(error).__name__


def _of_system(error: OSError) -> str:
    """Says what the system, or TLS, whose numbers are its own, has to say."""
    if isinstance(error, ssl.SSLError):
        return f"no TLS ({error.reason or type(error).__name__}): check endpoint.url, its https and its port"
    number = error.errno or 0  # negative for lookups of names, which have texts of their own
    return os.strerror(number) if number > 0 else error.strerror or str(error)
