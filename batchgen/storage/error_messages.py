"""What an object store, or the library that asks it, refuses: as an OSError, such as a disk's, with what to do.

Its words repeat no header, query or body: a credential might be there. The library's own are kept.
"""

from __future__ import annotations

import errno
import os
import re

from batchgen.storage.location import ObjectUrl
from batchgen.storage.settings import ADDRESSES, CREDENTIALS, family

REPLACED = "was replaced while it was read"
PANIC = "PanicException"
"""What a panic of a Rust library is in Python: no Exception."""
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "InvalidBucketName"}
_MAY_NOT = {"AccessDenied", "AuthorizationPermissionMismatch", "AllAccessDisabled", "Forbidden"}
"""What a store answers to somebody whom it knows, and who may do other things."""
_ACTS = {"GET": "read", "HEAD": "read", "PUT": "write", "POST": "write", "DELETE": "delete"}
_REGION = re.compile(r"<Region>([a-z0-9-]+)</Region>|expecting '([a-z0-9-]+)'")
_METADATA = re.compile(r"/latest/api/token|/latest/meta-data|computeMetadata|/metadata/identity|token request")
"""Where a machine of the cloud itself has its credentials from: asked when nothing else is there."""
_SECRET = re.compile(r"(AWS|AZURE|GOOGLE)\w*(KEY|SECRET|TOKEN|SAS|CONNECTION|PASSWORD)\w*")
SHORTEST_SECRET = 6


def refusal(url: ObjectUrl, error: BaseException) -> OSError:
    said, kind = str(error).split("\n\n", maxsplit=1)[0], type(error).__name__
    code = (re.findall(r"<Code>(\w+)</Code>", said) or [""])[0]
    if code in _NO_BUCKET:
        return FileNotFoundError(errno.ENOENT, f"there is no bucket {url.bucket}", str(url))
    if denied := _denied(url, said, kind, code):
        return PermissionError(errno.EACCES, denied, str(url))
    if kind == "PreconditionError":
        return OSError(errno.ESTALE, REPLACED, str(url))
    if kind in ("FileNotFoundError", "NotFoundError"):
        return FileNotFoundError(errno.ENOENT, "no such object", str(url))
    if "sending request" in said:
        return OSError(errno.EIO, f"the store cannot be reached{_why(str(error))}", str(url))
    return OSError(errno.EIO, _trouble(url, said, kind, code), str(url))


def _denied(url: ObjectUrl, said: str, kind: str, code: str) -> str:
    """Where it is a matter of who asks, or of which region; else empty."""
    status = _status(said)
    from_where = CREDENTIALS[family(url.bucket)]
    if _METADATA.search(said) or "Account must be specified" in said:
        return f"no credentials were found: set {from_where}"
    if region := _elsewhere(said, code):
        return region
    if not status or not (kind in ("PermissionDeniedError", "UnauthenticatedError") or status in ("400", "401", "403")):
        return ""
    told = f"the store refuses ({status}{f' {code}' if code else ''})"
    if code in _MAY_NOT:
        return f"{told}: these credentials may not {_act(said)} there"
    return f"{told}: check {from_where}{', and AWS_REGION' if status == '400' and family(url.bucket) == 's3' else ''}"


def _why(told: str) -> str:
    """What the system or the library says of a connection; empty where that is nothing."""
    certificate = re.search(r"InvalidCertificate\([^A-Z]*(\w+)", told)
    words = re.search(r'(?:error|message): "([^"]*)"', told) or re.search(r"hyper::Error\(\s*(\w+)", told)
    why = f"its certificate is not trusted: {certificate[1]}" if certificate else words[1] if words else ""
    return f" ({why})" if why else ""


def _status(said: str) -> str:
    match = re.search(r"status code: (\d+)", said)
    return match[1] if match else ""


def _act(said: str) -> str:
    method = re.search(r"Error performing ([A-Z]+) ", said)
    return "list what is" if "list request" in said else _ACTS.get(method[1] if method else "", "do that")


def _elsewhere(said: str, code: str) -> str:
    """Of a bucket in another region; empty where it is none. A redirect names no region, and a HEAD has no body."""
    is_redirect = "redirect without LOCATION" in said or code in ("PermanentRedirect", "TemporaryRedirect")
    if not is_redirect and code not in ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException"):
        return ""
    region = _REGION.search(said)
    where = f"in the region {region[1] or region[2]}" if region else "in another region"
    return f"the bucket is {where}: set AWS_REGION to it"


def _trouble(url: ObjectUrl, said: str, kind: str, code: str) -> str:
    """What a store answers, or by the library's own words why it is no answer."""
    words = _words(said)
    if status := _status(said):
        return f"the store answers {status}{f' {code}' if code else ''}"
    return _unusable(url, said, kind, words)


def _unusable(url: ObjectUrl, said: str, kind: str, words: str) -> str:
    if kind == PANIC:
        addresses = ", ".join(ADDRESSES[family(url.bucket)]) or "STORAGE_EMULATOR_HOST"
        return f"the store's library gave up ({words}): check {addresses}"
    if "range requested" in said or "Content-Range" in said or re.search(r"Requested [\d.]+, got", said):
        return f"the store does not answer a Range request with that part ({words}): its objects cannot be read"
    if kind == "InvalidPathError" or "parse path" in said:
        return f"an object's name cannot be read ({words}): rename that object, or take it out of the folder"
    if "ETag" in said or "Invalid last modified" in said:
        return f"the store answers as none of its kind does ({words})"
    if "Config error" in said:
        return f"a setting of the store is wrong ({words}): check its variables"
    return f"the store cannot be used ({words}): check {CREDENTIALS[family(url.bucket)]}"


def _words(said: str) -> str:
    """Without addresses, and without what the environment keeps secret."""
    told = re.sub(r"Generic \w+ error: |Encountered object with invalid path: ", "", said)
    told = re.sub(r"\S+://\S+", "...", told)
    for name, value in os.environ.items():
        if _SECRET.fullmatch(name) and len(value) >= SHORTEST_SECRET:
            told = told.replace(value, "...")
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in told)[:200]
