"""Verifies TLS certificates. Apart from the client, whose library takes long to import: a plan checks `ca_file`, and
sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchgen.errors import UsageError

if TYPE_CHECKING:
    import ssl


def trust(ca_file: str | None) -> ssl.SSLContext | bool:
    """Returns the certificates to trust: only the file's, or the system's. Raises UsageError if the file holds none.

    Verification cannot be disabled.
    """
    if ca_file is None:
        return True
    import ssl  # noqa: PLC0415  most plans do not need it

    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise UsageError(f"endpoint.ca_file: {ca_file}: holds no certificate (PEM)") from None
    except OSError as error:
        raise UsageError(f"endpoint.ca_file: {ca_file}: cannot be read: {error.strerror}") from None
