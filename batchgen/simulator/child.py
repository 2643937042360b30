"""Runs the built-in server as a child process while a block runs. It ends with its parent, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from batchgen.errors import MachineRefused

WITHOUT_CERTIFICATES = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}
"""aiohttp reads the system's certificates when it is imported, a fifth of the start-up time. The server needs none."""


@contextmanager
def child() -> Iterator[str]:
    """Yields the server's URL, on loopback. Raises MachineRefused if it does not start."""
    command = [sys.executable, "-m", "batchgen.simulator"]
    pipe, environ = subprocess.PIPE, os.environ | WITHOUT_CERTIFICATES
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True, env=environ) as process:  # noqa: S603  our own module
        url = process.stdout.readline().strip() if process.stdout else ""
        if not url:
            raise MachineRefused("the built-in model did not start; its own message is above")
        yield url
        # leaving the block closes its standard input, and so ends it
