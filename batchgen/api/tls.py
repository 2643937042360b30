"""Whose word for a server's identity is taken. Apart from the client, whose library takes long to import: a plan asks
this, and sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchgen.errors import UsageError

if TYPE_CHECKING:
    import ssl


def trust(ca_file: str | None) -> ssl.SSLContext | bool:
    """Whom to believe: the file's certificates alone, else the system's. Raises UsageError where it holds none.

    There is no way to believe anybody: verification is never off.
    """
    if ca_file is None:
        return True
    import ssl  # noqa: PLC0415  a plan of most jobs does without it

    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise UsageError(f"endpoint.ca_file: {ca_file}: holds no certificate (PEM)") from None
    except OSError as error:
        raise UsageError(f"endpoint.ca_file: {ca_file}: cannot be read: {error.strerror}") from None
