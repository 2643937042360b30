"""`batchgen export --local JOB`, and the seconds of it that are publishing: `python publish_alone.py JOB FILE`."""

from __future__ import annotations

import sys
from pathlib import Path
from time import monotonic
from typing import Any

from batchgen import __main__ as command


def main(job: str, told: str) -> None:
    command.share_memory()  # before what is imported now
    from batchgen.runner import publish as publishing  # noqa: PLC0415

    publish = publishing.publish

    def timed(*given: Any, **named: Any) -> Any:
        started = monotonic()
        published = publish(*given, **named)
        Path(told).write_text(str(monotonic() - started))
        return published

    publishing.publish = timed
    sys.argv = ["batchgen", "export", "--local", job]
    command.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
