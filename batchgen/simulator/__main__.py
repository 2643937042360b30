"""Runs the built-in server as a child process: `python -m batchgen.simulator`. Prints its URL on stdout, and nothing
else. Ends when its standard input is closed, and so never outlives its parent."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
from contextlib import suppress

from batchgen import event_loop
from batchgen.simulator import server


def main() -> None:
    gc.set_threshold(20_000, 20, 50)  # an answer's tokens have no reference cycles
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose requests here must still end
    event_loop.run(_serve())


async def _serve() -> None:
    stop = asyncio.Event()
    _on_stdin_closed(asyncio.get_running_loop(), stop)
    await server.serve("127.0.0.1", 0, stop, _announce)


def _on_stdin_closed(running: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    def watch() -> None:
        # os.read and not sys.stdin: its lock, held here, would abort the interpreter's exit.
        while os.read(0, 4096):
            pass
        with suppress(RuntimeError):  # the loop was closed first
            running.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch, name="stdin", daemon=True).start()


def _announce(url: str) -> None:
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
