"""What batchgen costs, measured: `python tests/benchmarks [--quick] [section ...]`.

One table on stdout, progress on stderr. Nothing is asserted: machines differ, so ratios are to what ran beside
it in the same minute. The server has one core, the client another; rounds are interleaved, figures are medians.
"""

from __future__ import annotations

import argparse
import platform
import resource
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import flight
import gateways
import growth
import memory
import publishing
import reading
import resume
import servers
import shapes
import sizes
import start
import table
import throughput
from machine import CORES, PINNED, note
from made import Bench
from table import Line

SECTIONS = {
    "throughput": throughput.lines,
    "flight": flight.lines,
    "memory": memory.lines,
    "growth": growth.lines,
    "start": start.lines,
    "resume": resume.lines,
    "publishing": publishing.lines,
    "reading": reading.lines,
    "bytes": sizes.lines,
    "shapes": shapes.lines,
    "gateways": gateways.lines,
}


def main() -> None:
    asked = _asked()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory(prefix="batchgen-benchmarks-", dir=asked.folder) as folder:
        bench = Bench(Path(folder), asked.quick, asked.input, asked.field_python)
        lines: list[tuple[str, Line]] = []
        try:
            lines.extend(_lines(bench, asked.section or list(SECTIONS)))
        finally:
            table.show(lines)  # what was measured before one failed
    print(f"\n{_circumstances()}")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("section", nargs="*", help=f"of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="ten to twenty times fewer rows: about two minutes")
    parser.add_argument("--input", choices=["csv", "parquet"], default="csv", help="format of the input")
    parser.add_argument("--folder", help="where to work: a disk as it will be used; default: the temporary folder")
    parser.add_argument(
        "--field-python", default=sys.executable, metavar="PATH", help="interpreter that has lm-deluge and writer-sdk"
    )
    asked = parser.parse_args()
    if unknown := set(asked.section) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    return asked


def _lines(bench: Bench, sections: list[str]) -> Iterator[tuple[str, Line]]:
    for section in sections:
        note(section)
        for line in SECTIONS[section](bench):
            yield section, line


def _circumstances() -> str:
    pinned = f"cores {CORES[0]} and {CORES[1]}" if PINNED else "not pinned: this system cannot, or has one core"
    served = "nginx" if servers.NGINX else "our own server (no nginx here)"
    libraries = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "uvloop", "polars", "pyarrow"))
    return f"{served} and client: {pinned}; {platform.machine()}\nPython {platform.python_version()}, {libraries}"


if __name__ == "__main__":
    main()
