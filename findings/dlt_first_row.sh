#!/bin/sh
# Results that dlt 1.31.0 loads into a database (DuckDB 2.0.1): numbers, times and keys, by which row comes first.
#
# Guess: a column of numbers holds whole numbers and fractions, in whatever order they come, and an answer is a text.
#        Values that do not fit their column get one of their own (`score__v_text`), as its documentation has it:
#        those are texts among numbers. Two keys of an object are two columns.
# Seen:  the first row decides. Where its score is 0, the column is one of whole numbers, and each fraction stands in
#        `score__v_double`, with null in `score`: an average over `score` is one over the zeros. In another order, or
#        where 0.0 was written, there is one column. So it is with log-probs within lists, and from night to night,
#        since types are kept: where all scores of the first night were whole, the fractions of all later ones are
#        elsewhere. Where the first answer reads like a time, with T and hours, answers are times, in UTC, and all
#        others null, beside `answer__v_text`. A text "7" behind a number is the number. Of keys that are one in small
#        letters (`Answer` and `answer`, `productName` and `product_name`) the last one of a row is there, the others
#        are gone. No error, no warning, and all rows are counted.
# So:    give the types: `dlt.resource(rows, name="results", columns={"score": {"data_type": "double"}, "answer":
#        {"data_type": "text"}})`; look for columns with `__v_`; and rename keys before. Of numbers it is known: issue
#        3916 of dlt, open since May 2026.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'dlt[duckdb]==1.31.0' 'duckdb==2.0.1'
cd "$folder"
RUNTIME__DLTHUB_TELEMETRY=false venv/bin/python - <<'PYTHON'
import itertools
from pathlib import Path

import dlt
import duckdb

count = itertools.count()


def loaded(*nights, table="night.results"):
    """The columns and rows of a table, after one load of a pipeline for each night."""
    name = f"load_{next(count)}"
    pipeline = dlt.pipeline(name, destination=dlt.destinations.duckdb(f"{name}.duckdb"), dataset_name="night",
                            pipelines_dir=str(Path("pipelines").absolute()))
    for rows in nights:
        pipeline.run(rows, table_name="results").raise_on_failed_jobs()
    with duckdb.connect(f"{name}.duckdb") as database:
        described = database.sql(f"DESCRIBE {table}").fetchall()
        kinds = {column: kind for column, kind, *_ in described if not column.startswith("_dlt")}
        rows = database.sql(f"SELECT {', '.join(kinds)} FROM {table}").fetchall()
        if "score" in kinds:
            ((average,),) = database.sql(f"SELECT avg(score) FROM {table}").fetchall()
            print("average:", average, end="; ")
    print(kinds, *rows)
    return kinds, rows


print("dlt", dlt.__version__, "duckdb", duckdb.__version__)
scores = [{"score": 0}, {"score": 0.75}, {"score": 0.5}]
kinds, rows = loaded(scores)
assert kinds == {"score": "BIGINT", "score__v_double": "DOUBLE"}
assert rows == [(0, None), (None, 0.75), (None, 0.5)]
assert loaded(scores[::-1]) == ({"score": "DOUBLE"}, [(0.5,), (0.75,), (0.0,)])
assert loaded([{"score": 0.0}, *scores[1:]])[0] == {"score": "DOUBLE"}
assert loaded([{"score": 1}, {"score": 0}], scores[1:])[1] == [(1, None), (0, None), (None, 0.75), (None, 0.5)]

tokens = [{"token": "a", "logprob": 0}, {"token": "b", "logprob": -0.75}]
kinds, rows = loaded([{"row": 1, "tokens": tokens}], table="night.results__tokens")
assert rows == [("a", 0, None), ("b", None, -0.75)] and "logprob__v_double" in kinds

answers = [{"answer": "2026-01-31T10:00:00"}, {"answer": "On Monday, I believe."}]
kinds, rows = loaded(answers)
assert kinds["answer"] == "TIMESTAMP WITH TIME ZONE" and [row[1] for row in rows] == [None, answers[1]["answer"]]
assert rows[1][0] is None
assert loaded(answers[::-1])[0] == {"answer": "VARCHAR"}
assert loaded([{"answer": 5}, {"answer": "7"}]) == ({"answer": "BIGINT"}, [(5,), (7,)])

assert loaded([{"Answer": "the first", "answer": "the second"}]) == ({"answer": "VARCHAR"}, [("the second",)])
assert loaded([{"productName": "a", "product_name": "b"}])[1] == [("b",)]

typed = dlt.resource(scores, name="results", columns={"score": {"data_type": "double"}})
assert loaded(typed)[1] == [(0.0,), (0.75,), (0.5,)]
typed = dlt.resource(answers, name="results", columns={"answer": {"data_type": "text"}})
assert loaded(typed)[1] == [(row["answer"],) for row in answers]
PYTHON
