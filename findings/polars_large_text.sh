#!/bin/sh
# One large text in polars 2.1.0 (60 MB, as long as the largest answers that a client takes): what a length or a hash costs.
#
# Guess: the length of a text and its hash read the bytes where they lie, and need no memory of the text's size.
# Seen:  either takes three times the text's size, for a moment: 190 MB for 60 MB. pyarrow's utf8_length takes nothing, and
#        Python's own len and hash at most the text once, as a string.
# So:    where memory is bounded, measure texts that may be large by pyarrow or in Python, not by polars.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q polars==2.1.0 pyarrow==26.0.1 2>/dev/null
cat > "$folder/measure.py" <<'PYTHON'
import sys

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

def peak():
    with open("/proc/self/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1]) / 1024

size = 60 << 20
arrow = pa.array(["x" * size])
series = pl.Series(arrow)
pl.Series(["small"]).str.len_chars()
before = peak()
{
    "polars len_chars": lambda: series.str.len_chars(),
    "polars hash": lambda: series.hash(),
    "pyarrow utf8_length": lambda: pc.utf8_length(arrow),
    "python len and hash": lambda: [(len(text), hash(text)) for text in arrow.to_pylist()],
}[sys.argv[1]]()
print(f"{(peak() - before) / 60:.1f}")
PYTHON
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import subprocess
import sys

import polars
import pyarrow

folder = sys.argv[1]
print(f"polars {polars.__version__}, pyarrow {pyarrow.__version__}")
bounds = {"polars len_chars": (2, 5), "polars hash": (2, 5), "pyarrow utf8_length": (0, 0.5), "python len and hash": (0, 1.5)}
good = True
for what, (least, most) in bounds.items():
    times = float(subprocess.run([sys.executable, f"{folder}/measure.py", what], stdout=subprocess.PIPE, text=True).stdout)
    print(f"{what}: {times} times the text's size at the peak")
    good &= least <= times <= most
sys.exit(0 if good else "it has changed")
PYTHON
