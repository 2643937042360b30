#!/bin/sh
# Parquet columns of types that Spark 4.3.0 does not have (pyspark 4.3.0 with OpenJDK 17; file by pyarrow 26.0.1).
#
# Guess: a column of a type that it does not know is passed over, or fails where it is selected; a time of day is read,
#        since there is a type TIME.
# Seen:  one such column makes the whole file unreadable, whatever is selected: times of day, timestamps in nanoseconds,
#        UUIDs, float16. A schema that is given and leaves the column out is enough to read the others. With
#        `spark.sql.timeType.enabled` a time of day is read, with `spark.sql.legacy.parquet.nanosAsLong` a nanosecond
#        timestamp is a whole number. Nothing reads UUIDs and float16.
# So:    give a schema (`spark.read.schema("name string")`), or convert such columns before they are written.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'pyspark==4.3.0' 'pyarrow==26.0.1'
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import SparkSession

TYPES = {
    "times of day": pa.array([1], pa.time64("us")),
    "nanoseconds": pa.array([1], pa.timestamp("ns")),
    "UUIDs": pa.array([bytes(16)], pa.uuid()),
    "float16": pa.array([1.5], pa.float32()).cast(pa.float16()),
}
SETTINGS = ("spark.sql.timeType.enabled", "spark.sql.legacy.parquet.nanosAsLong")

builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
spark = builder.getOrCreate()
print("spark", spark.version)


def read(path):
    """The type of column v, or the error's name."""
    try:
        frame = spark.read.parquet(path)
        frame.select("name").collect()
        return dict(frame.dtypes)["v"]
    except Exception as error:
        return str(error).split("]")[0].strip("[")


seen = {}
for name, values in TYPES.items():
    path = f"{name}.parquet"
    pq.write_table(pa.table({"name": ["tent"], "v": values}), path)
    for setting in SETTINGS:
        spark.conf.unset(setting)
    refused = read(path)
    told = [row.name for row in spark.read.schema("name string").parquet(path).collect()]
    for setting in SETTINGS:
        spark.conf.set(setting, "true")
    seen[name] = (refused, told, read(path))
    print(f"{name}: {refused}; with a schema of the other column: {told}; with both settings: {seen[name][2]}")
illegal = "PARQUET_TYPE_ILLEGAL"
assert seen == {
    "times of day": ("UNSUPPORTED_TIME_TYPE", ["tent"], "time(6)"),
    "nanoseconds": (illegal, ["tent"], "bigint"),
    "UUIDs": (illegal, ["tent"], illegal),
    "float16": (illegal, ["tent"], illegal),
}, "it reads them otherwise now"
PYTHON
