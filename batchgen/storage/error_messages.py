"""Errors of an object store, or of the library that calls it, as an OSError with advice, as of a disk.

The messages repeat no header, query or body, which might hold a credential. The library's own words are kept.
"""

from __future__ import annotations

import errno
import os
import re

from batchgen.storage.location import ObjectUrl
from batchgen.storage.settings import ADDRESSES, credentials, family, secret_variables

REPLACED = "was replaced while it was read"
PANIC = "PanicException"
"""The type name of a Rust library's panic in Python. It is not a subclass of Exception."""
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName"}
_FORBIDDEN = {"AccessDenied", "AuthorizationPermissionMismatch", "AllAccessDisabled", "Forbidden"}
"""Error codes for credentials that the store knows, and that lack a permission."""
_WRONG_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
_ACTIONS = {"GET": "read", "HEAD": "read", "PUT": "write", "POST": "write", "DELETE": "delete"}
_REGION = re.compile(r"<Region>([a-z0-9-]+)</Region>|expecting '([a-z0-9-]+)'")
_METADATA = re.compile(r"/latest/api/token|/latest/meta-data|computeMetadata|/metadata/identity|token request")
"""Addresses of a cloud machine's own credentials, which the library tries last."""
MIN_SECRET_CHARS = 6


def to_os_error(url: ObjectUrl, error: BaseException) -> OSError:
    message, kind = str(error).split("\n\n", maxsplit=1)[0], type(error).__name__
    code = (re.findall(r"<Code>(\w+)</Code>", message) or [""])[0]
    if code in _NO_BUCKET:
        return FileNotFoundError(errno.ENOENT, f"there is no bucket {url.bucket}", str(url))
    if denied := _denied(url, message, kind, code):
        return PermissionError(errno.EACCES, denied, str(url))
    if kind == "PreconditionError":
        return OSError(errno.ESTALE, REPLACED, str(url))
    if kind in ("FileNotFoundError", "NotFoundError"):
        return FileNotFoundError(errno.ENOENT, "no such object", str(url))
    if "sending request" in message:
        return OSError(errno.EIO, f"the store cannot be reached{_connection_error(str(error))}", str(url))
    return OSError(errno.EIO, _failure(url, message, kind, code), str(url))


def _denied(url: ObjectUrl, message: str, kind: str, code: str) -> str:
    """Describes an error of credentials or region; empty for any other error."""
    status = _status(message)
    from_where = credentials(url.bucket, os.environ)
    if _METADATA.search(message) or "Account must be specified" in message:
        return f"no credentials were found: set {from_where}"
    if region := _other_region(message, code):
        return region
    if not status or not (kind in ("PermissionDeniedError", "UnauthenticatedError") or status in ("400", "401", "403")):
        return ""
    refused = f"the store refuses ({status}{f' {code}' if code else ''})"
    if code in _FORBIDDEN:
        return f"{refused}: these credentials may not {_action(message)} there"
    if code in _WRONG_CLOCK:
        return f"{refused}: this machine's clock is wrong, or the store's"
    return (
        f"{refused}: check {from_where}{', and AWS_REGION' if status == '400' and family(url.bucket) == 's3' else ''}"
    )


def _connection_error(message: str) -> str:
    """Returns what the system or the library says of a failed connection, in brackets; empty if it says nothing."""
    certificate = re.search(r"InvalidCertificate\([^A-Z]*(\w+)", message)
    words = re.search(r'(?:error|message): "([^"]*)"', message) or re.search(r"hyper::Error\(\s*(\w+)", message)
    why = f"its certificate is not trusted: {certificate[1]}" if certificate else words[1] if words else ""
    return f" ({why})" if why else ""


def _status(message: str) -> str:
    match = re.search(r"status code: (\d+)", message)
    return match[1] if match else ""


def _action(message: str) -> str:
    method = re.search(r"Error performing ([A-Z]+) ", message)
    return "list what is" if "list request" in message else _ACTIONS.get(method[1] if method else "", "do that")


def _other_region(message: str, code: str) -> str:
    """Describes a bucket in another region; empty for any other error. A redirect names no region, and a HEAD has no
    body."""
    is_redirect = "redirect without LOCATION" in message or code in ("PermanentRedirect", "TemporaryRedirect")
    if not is_redirect and code not in ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
        return ""
    region = _REGION.search(message)
    where = f"in the region {region[1] or region[2]}" if region else "in another region"
    return f"the bucket is {where}: set AWS_REGION to it"


def _failure(url: ObjectUrl, message: str, kind: str, code: str) -> str:
    """Describes the status that the store answered with, or in the library's own words why its answer cannot be
    used."""
    words = _redacted(message)
    if status := _status(message):
        return f"the store answers {status}{f' {code}' if code else ''}"
    return _unusable(url, message, kind, words)


def _unusable(url: ObjectUrl, message: str, kind: str, words: str) -> str:
    if kind == PANIC:
        addresses = ", ".join(ADDRESSES[family(url.bucket)]) or "STORAGE_EMULATOR_HOST"
        return f"the store's library crashed ({words}): check {addresses}"
    if "range requested" in message or "Content-Range" in message or re.search(r"Requested [\d.]+, got", message):
        return f"the store does not answer a Range request with that part ({words}): its objects cannot be read"
    if kind == "InvalidPathError" or "parse path" in message:
        return f"an object's name cannot be read ({words}): rename that object, or take it out of the folder"
    if "ETag" in message or "Invalid last modified" in message:
        return f"the store does not answer as an object store should ({words})"
    if "Config error" in message:
        return f"a setting of the store is wrong ({words}): check {_variables_of(words) or 'its variables'}"
    return f"the store cannot be used ({words}): check {credentials(url.bucket, os.environ)}"


def _variables_of(words: str) -> str:
    """Returns the names of the store's variables that hold the value which the words quote."""
    values = set(re.findall('"([^"]*)"', words))
    names = (name for name, value in os.environ.items() if value in values)
    return ", ".join(sorted(name for name in names if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))))


def _redacted(message: str) -> str:
    """Returns the message without addresses, and without secrets of the environment."""
    text = re.sub(r"Generic \w+ error: |Encountered object with invalid path: ", "", message)
    text = re.sub(r"\S+://\S+", "...", text)
    for name in secret_variables(os.environ):
        if len(os.environ[name]) >= MIN_SECRET_CHARS:
            text = text.replace(os.environ[name], "...")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)[:200]
