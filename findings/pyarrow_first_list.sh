#!/bin/sh
# The first list that pyarrow 26.0.1 turns into an array, where pandas 3.1.1 is installed, too.
#
# Guess: pyarrow imports pandas when a frame of pandas is handed to it, or asked of it.
# Seen:  `pa.array` of a plain list imports pandas (to ask whether the list is a Series), and so do `Schema.empty_table`
#        and all that is built on them: a program that writes Parquet holds pandas, tens of megabytes and a part of a
#        second, by what else its environment has. It does not where numpy cannot be imported: pyarrow then asks nothing.
#        pandas alone cannot be hidden by an entry of None in sys.modules, Python's own way to do so: pyarrow takes the
#        None for the module, and `pa.array([1])` raises AttributeError.
# So:    hide numpy from a command that needs neither, before pyarrow is imported.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'pyarrow==26.0.1' 'pandas==3.1.1'
run() { "$folder/venv/bin/python" -c "$1"; }
run 'import pyarrow as pa, importlib.metadata as m; print("pyarrow", pa.__version__, "pandas", m.version("pandas"))'
run '
import sys
import pyarrow as pa
assert "numpy" in sys.modules and "pandas" not in sys.modules
pa.array([1])
assert "pandas" in sys.modules, "a list imports pandas no more"
print("pa.array([1]): imports pandas")'
run '
import sys
import pyarrow as pa
pa.schema([("a", pa.int64())]).empty_table()
assert "pandas" in sys.modules, "an empty table imports pandas no more"
print("Schema.empty_table(): imports pandas")'
run '
import sys
sys.modules["numpy"] = None
import pyarrow as pa
assert pa.array([1]).to_pylist() == [1]
assert "pandas" not in sys.modules, "pandas is imported without numpy"
print("without numpy: does not")'
run '
import sys
sys.modules["pandas"] = None
import pyarrow as pa
try:
    pa.array([1])
except AttributeError as error:
    print("with pandas hidden:", error)
else:
    raise AssertionError("pandas can be hidden now")'
