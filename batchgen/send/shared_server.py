"""Shares a server with other runs of this machine that look for the number of requests in flight, too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from batchgen.send import other_runs
from batchgen.send.concurrency import AdaptiveConcurrency


@contextmanager
def sharing(numbers: Mapping[str, AdaptiveConcurrency]) -> Iterator[Callable[[], None]]:
    """Shares each server, by its address, while the block runs. Yields a function to call every second."""
    with ExitStack() as stack:
        servers = [(one, stack.enter_context(other_runs.register("in flight", url))) for url, one in numbers.items()]

        def look() -> None:
            for number, registration in servers:
                registration.tell(number.in_flight, number.settled, is_looking=number.is_looking)
                number.share(time.monotonic(), registration.others())

        look()
        yield look
