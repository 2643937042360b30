"""The built-in server as a child process, for the length of a block. Ends with its parent, however that ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from batchgen.errors import MachineRefused


@contextmanager
def child() -> Iterator[str]:
    """The server's base URL, on loopback. Raises MachineRefused where it does not start."""
    command = [sys.executable, "-m", "batchgen.simulator"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:  # noqa: S603  our own module
        url = process.stdout.readline().strip() if process.stdout else ""
        if not url:
            raise MachineRefused("the built-in model did not start; its own message stands above")
        yield url
        # leaving the block closes its standard input, at which it ends
