"""The `batchgen` command: sets what must be set before anything is imported that costs time, and goes on in `cli`."""

from __future__ import annotations

import gc
import os
import sys

MAX_KEPT = 4 << 20
HIDDEN = ("numpy", "dateutil", "tornado", "pyarrow._s3fs", "pyarrow._gcsfs", "pyarrow._azurefs")


def main() -> None:
    share_memory()
    spare_the_collector()
    spare_imports()
    try:
        from batchgen.cli import main

        main.main()
    except KeyboardInterrupt:
        sys.stderr.write("error: stopped before anything was begun\n")
        sys.exit(3)
    finally:
        gc.freeze()  # the interpreter goes over what is left once more before it ends: a seventh of a plan's CPU


def share_memory() -> None:
    """Has Arrow and polars give back memory that they no longer use. Each of them would keep it, sixty bytes a row of a
    million. The system's allocator gives it to the next who asks, and polars' gives it back after half a second.

    glibc's does so up to the largest piece that has come back so far (mallopt(3), M_MMAP_THRESHOLD): without that first
    one, each block of an input is had from the kernel page by page, which takes longer than reading it."""
    bytes(MAX_KEPT)
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:500,muzzy_decay_ms:0")


def spare_the_collector() -> None:
    """Has the garbage collector rest until requests are sent (`event_loop`), and then run less often. What is imported
    is never garbage, and neither planning nor publishing a row makes any: going over all that, again and again, is a
    fourteenth of the CPU of a plan of few rows, and a twelfth of that of sending at 2,000 in flight."""
    gc.disable()
    gc.set_threshold(20_000, 20, 50)


def spare_imports() -> None:
    """Hides modules that nothing here needs, and that libraries import where they are installed. The engine on Ray
    brings them back.

    numpy: pyarrow would start its threads for linear algebra, and import pandas with the first list: a seventh of the
    CPU of a short run, and 40 MB. pandas cannot be hidden alone (findings/pyarrow_first_list.sh). dateutil: pyarrow
    imports it with the first list, too. tornado: tenacity imports it, for tornado's coroutines. The others are
    pyarrow's clients of stores; ours is obstore.

    Spares pydantic asking every installed package for plugins."""
    sys.modules |= dict.fromkeys(HIDDEN)  # type: ignore[arg-type]  # an import then fails: docs.python.org, sys.modules
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


if __name__ == "__main__":
    main()
