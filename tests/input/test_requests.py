"""Rows -> the bytes that are sent, and their identity: the same request has the same key, any other another."""

import datetime as dt
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.api.types import SERVER_MAX_TOKENS
from batchgen.checkpoint.row_key import KEY_BYTES, Identity, occurrence_key
from batchgen.errors import UsageError
from batchgen.input.request import PreparedRequest, Requests, RowError
from batchgen.job.job import Job

LARGEST = 2**32 - 1
"""What a plan's columns hold."""
ENDPOINT = "https://api.writer.com"
ALL = {
    "model": "palmyra-x5",
    "max_tokens": 300,
    "temperature": 0.7,
    "top_p": 0.9,
    "stop": ["\n\n", "."],
    "best_of": 2,
    "random_seed": 42,
    "stream": False,
}


def job(request: dict | None = None, prompt: str = "Hello {{ a }}", **parts: object) -> Job:
    values = {
        "input": {"path": "in.csv"},
        "prompt": prompt,
        "request": request or {"model": "m"},
        "output": {"path": "x.parquet"},
        **parts,
    }
    return Job.model_validate(values, context={"folder": Path("/jobs"), "stem": "job"})


def made(job: Job, frame: pl.DataFrame, endpoint: str = ENDPOINT) -> list[PreparedRequest | RowError]:
    return list(Requests(job, dict(frame.schema), endpoint).of(frame))


def one(request: dict | None = None, cell: str = "x", endpoint: str = ENDPOINT, **parts: object) -> PreparedRequest:
    (prepared,) = made(job(request, **parts), pl.DataFrame({"a": [cell]}), endpoint)
    assert isinstance(prepared, PreparedRequest)
    return prepared


def test_all_nine_fields_are_sent_as_they_stand():
    assert json.loads(one(ALL).body) == {**ALL, "prompt": "Hello x"}


@pytest.mark.parametrize("name", sorted(set(ALL) - {"model"}))
def test_a_field_that_is_left_out_is_not_sent(name):
    left = {key: value for key, value in ALL.items() if key != name}
    assert json.loads(one(left).body) == {**left, "prompt": "Hello x"}


@pytest.mark.parametrize("name", sorted(set(ALL) - {"model"}))
def test_a_field_that_is_null_is_not_sent(name):
    left = {key: value for key, value in ALL.items() if key != name}
    assert one({**ALL, name: None}).body == one(left).body


def test_the_least_there_is():
    assert json.loads(one().body) == {"model": "m", "prompt": "Hello x"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("top_p", 0),
        ("stream", False),
        ("stream", True),
        ("random_seed", 0),
        ("random_seed", -(2**31)),
        ("max_tokens", 2**63 - 1),
        ("best_of", 2**31 - 1),
        ("stop", ""),
        ("stop", []),
        ("stop", "\n"),
        ("stop", ["\n", "ü", '"']),
    ],
)
def test_values_that_look_like_none_are_sent(name, value):
    assert json.loads(one({"model": "m", name: value}).body)[name] == value


@given(st.text(min_size=1))
@settings(deadline=None)
def test_a_body_is_json_in_utf8_that_holds_the_very_cell(cell):
    assert json.loads(one(cell=cell).body.decode())["prompt"] == f"Hello {cell}"


def test_what_is_known_of_a_request():
    prepared = one({"model": "m", "max_tokens": 50, "best_of": 3}, cell="ü" * 10)
    assert prepared.model == "m"
    assert prepared.prompt == "Hello " + "ü" * 10
    assert prepared.prompt_tokens == 7
    assert prepared.answer_tokens == 150
    assert one().answer_tokens == SERVER_MAX_TOKENS


# Per-row fields


def with_column(field: str, values: list, dtype: type[pl.DataType] = pl.String, job_value: object = None) -> list:
    """What is sent in the field for each row, or the problem's reason."""
    request = {"model": "m", **({} if job_value is None else {field: job_value})}
    frame = pl.DataFrame({"a": ["x"] * len(values), "own": pl.Series(values, dtype=dtype, strict=False)})
    return [
        row.reason if isinstance(row, RowError) else json.loads(row.body).get(field)
        for row in made(job(request, columns={field: "own"}), frame)
    ]


@pytest.mark.parametrize(
    ("field", "dtype", "cell", "sent"),
    [
        ("max_tokens", pl.String, "120", 120),
        ("max_tokens", pl.String, "0120", 120),
        ("max_tokens", pl.Int64, 120, 120),
        ("max_tokens", pl.UInt8, 120, 120),
        ("max_tokens", pl.Float64, 120.0, 120),
        ("best_of", pl.String, "2", 2),
        ("random_seed", pl.String, "-1", -1),
        ("random_seed", pl.Int32, -(2**31), -(2**31)),
        ("temperature", pl.String, "0.5", 0.5),
        ("temperature", pl.String, "0", 0),
        ("temperature", pl.Float64, 0.5, 0.5),
        ("temperature", pl.Int64, 1, 1),
        ("top_p", pl.String, "1", 1),
        ("stop", pl.String, "\n", "\n"),
        ("stop", pl.String, "[1, 2]", "[1, 2]"),
        ("stop", pl.String, "12", "12"),
        ("stop", pl.List(pl.String), ["a", "b"], ["a", "b"]),
        ("model", pl.String, "palmyra-x4", "palmyra-x4"),
        ("stream", pl.String, "true", True),
        ("stream", pl.String, "False", False),
        ("stream", pl.Boolean, True, True),
        ("stream", pl.Boolean, False, False),
    ],
)
def test_a_cell_is_read_as_its_fields_type(field, dtype, cell, sent):
    (got,) = with_column(field, [cell], dtype)
    assert got == sent
    assert type(got) in (type(sent), float)


@pytest.mark.parametrize(
    ("field", "dtype", "cell"),
    [
        ("max_tokens", pl.String, "many"),
        ("max_tokens", pl.String, "12.5"),
        ("max_tokens", pl.String, "0"),
        ("max_tokens", pl.String, "-5"),
        ("max_tokens", pl.String, "9223372036854775808"),
        ("max_tokens", pl.String, "9" * 5000),
        ("max_tokens", pl.String, "1e3"),
        ("max_tokens", pl.String, "1,000"),
        ("max_tokens", pl.Float64, 12.5),
        ("max_tokens", pl.Float64, float("nan")),
        ("max_tokens", pl.Int64, 0),
        ("max_tokens", pl.Boolean, True),
        ("max_tokens", pl.Date, dt.date(2024, 2, 29)),
        ("max_tokens", pl.List(pl.Int64), [1]),
        ("best_of", pl.String, "2147483648"),
        ("random_seed", pl.Int64, 2**31),
        ("random_seed", pl.String, "x"),
        ("temperature", pl.String, "hot"),
        ("temperature", pl.String, "-0.1"),
        ("temperature", pl.String, "nan"),
        ("temperature", pl.String, "inf"),
        ("temperature", pl.String, "0,5"),
        ("temperature", pl.Float64, float("nan")),
        ("temperature", pl.Boolean, True),
        ("top_p", pl.String, "1.01"),
        ("top_p", pl.Float64, float("inf")),
        ("stop", pl.Int64, 5),
        ("stop", pl.List(pl.Int64), [5]),
        ("stop", pl.List(pl.String), ["a", None]),
        ("model", pl.Int64, 5),
        ("stream", pl.String, "maybe"),
        ("stream", pl.Int64, 7),
    ],
)
def test_a_cell_that_is_not_of_its_fields_type(field, dtype, cell):
    (reason,) = with_column(field, [cell], dtype)
    assert isinstance(reason, str)
    assert reason.startswith(f"{field} (column own): ")
    assert len(reason) < 300
    assert "\n" not in reason


@pytest.mark.parametrize("job_value", [None, 50], ids=["the job has none", "the job has one"])
def test_an_empty_cell_leaves_the_jobs_value(job_value):
    assert with_column("max_tokens", ["7", None, "", "8"], job_value=job_value) == [7, job_value, job_value, 8]
    assert with_column("max_tokens", [7, None], pl.Int64, job_value=job_value) == [7, job_value]


def test_an_empty_cell_leaves_the_jobs_model():
    assert with_column("model", ["n", None, ""]) == ["n", "m", "m"]


def test_a_bad_cell_spoils_its_own_row_alone():
    sent = with_column("temperature", ["0.1", "x", "0.3"])
    assert (sent[0], sent[2]) == (0.1, 0.3)
    assert sent[1].endswith("not 'x'")


def test_a_null_in_the_prompt_spoils_its_own_row_alone():
    first, second, third = made(job(), pl.DataFrame({"a": ["x", None, "z"]}))
    assert isinstance(first, PreparedRequest)
    assert second == RowError("a is missing or empty")
    assert isinstance(third, PreparedRequest)


def test_several_columns_and_one_of_them_in_the_prompt():
    frame = pl.DataFrame({"a": ["x"], "t": ["0.5"], "n": ["9"]})
    values = job({"model": "m", "top_p": 0.5}, prompt="{{ a }}{{ n }}", columns={"temperature": "t", "max_tokens": "n"})
    (prepared,) = made(values, frame)
    assert json.loads(prepared.body) == {
        "model": "m",
        "prompt": "x9",
        "top_p": 0.5,
        "temperature": 0.5,
        "max_tokens": 9,
    }
    assert prepared.answer_tokens == 9


def test_a_rows_own_model_is_told():
    frame = pl.DataFrame({"a": ["x", "y"], "own": ["n", None]})
    assert [row.model for row in made(job(columns={"model": "own"}), frame)] == ["n", "m"]


def test_a_column_that_is_not_there():
    with pytest.raises(
        UsageError, match=r"columns\.max_tokens: the input has no column 'bugdet'; did you mean budget\?"
    ):
        made(job(columns={"max_tokens": "bugdet"}), pl.DataFrame({"a": ["x"], "budget": ["1"]}))


def test_no_rows_make_no_requests():
    assert made(job(columns={"max_tokens": "a"}), pl.DataFrame(schema={"a": pl.String})) == []


# Identity

OTHERS = {
    "another prompt": one(ALL, prompt="Hello, {{ a }}"),
    "another cell": one(ALL, cell="y"),
    "a cell with a space more": one(ALL, cell="x "),
    "another endpoint": one(ALL, endpoint="https://other.example"),
    "no parameters": one(),
    **{f"without {name}": one({**ALL, name: None}) for name in ALL if name != "model"},
    **{
        f"another {name}": one({**ALL, name: value})
        for name, value in {
            "model": "palmyra-x4",
            "max_tokens": 301,
            "temperature": 0.71,
            "top_p": 0.91,
            "stop": ["\n\n"],
            "best_of": 3,
            "random_seed": 43,
            "stream": True,
        }.items()
    },
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_request_has_another_key(other):
    assert OTHERS[other].digest != one(ALL).digest


def test_all_these_keys_differ():
    assert len({other.digest for other in OTHERS.values()}) == len(OTHERS)


def test_the_same_request_has_the_same_key():
    backwards = dict(reversed(ALL.items()))
    more = {"limits": {"concurrency": 3}, "retry": {"attempts": 1}, "name": "other", "reuse": False}
    assert one(backwards, **more) == one(ALL)
    assert one(ALL, columns={"max_tokens": "a"}, cell="300").digest == one(ALL, cell="300").digest
    assert one({"model": "m", "temperature": 1}).digest == one({"model": "m", "temperature": 1.0}).digest


def test_a_key_does_not_depend_on_the_row_or_its_neighbours():
    frame = pl.DataFrame({"a": ["x", "y", "x", "z"], "b": [1, 2, 3, 4]})
    keys = [row.digest for row in made(job(), frame)]
    assert keys[0] == keys[2] == one().digest
    assert [row.digest for row in made(job(), frame.reverse())] == keys[::-1]


def test_keys_stay_as_they_were():
    """Answers that were paid for are found by these bytes: another key or body buys every one of them again."""
    prepared = one(ALL)
    assert prepared.body == (
        b'{"model":"palmyra-x5","prompt":"Hello x","max_tokens":300,"temperature":0.7,"top_p":0.9,'
        b'"stop":["\\n\\n","."],"best_of":2,"random_seed":42,"stream":false}'
    )
    assert prepared.digest.hex() == "193ef914b51fe4a05748c68aeddaf878"
    assert occurrence_key(prepared.digest, 1).hex() == "d9d4539595da44d672ec75d67b711d5e"


@given(st.sets(st.tuples(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), st.integers(0, 2**40)), max_size=50))
@settings(deadline=None)
def test_no_two_occurrences_share_a_key(wanted):
    keys = {occurrence_key(digest, occurrence) for digest, occurrence in wanted}
    assert len(keys) == len(wanted)
    assert {len(key) for key in keys} <= {KEY_BYTES}


@given(st.binary(), st.text(max_size=20))
@settings(deadline=None)
def test_a_first_occurrence_has_the_digest_itself(body, endpoint):
    digest = Identity(endpoint).digest(body)
    assert occurrence_key(digest, 0) == digest
    assert len(digest) == KEY_BYTES


@given(st.sets(st.tuples(st.text(max_size=10), st.binary(max_size=20)), max_size=20))
@settings(deadline=None)
def test_endpoints_and_bodies_do_not_run_into_each_other(wanted):
    assert len({Identity(endpoint).digest(body) for endpoint, body in wanted}) == len(wanted)


def test_an_identity_may_be_asked_in_any_order():
    identity = Identity(ENDPOINT)
    first = [identity.digest(body) for body in (b"a", b"b", b"")]
    assert [identity.digest(body) for body in (b"", b"b", b"a")] == first[::-1]


def test_rows_without_a_request_keep_their_place_among_those_that_have_one():
    chat = job(messages=[{"system": "Be {{ a }}."}, {"user": "{{ b }}"}], columns={"max_tokens": "n"}, prompt=None)
    frame = pl.DataFrame(
        {"a": ["brief", None, "kind", None, "wise"], "b": ["1", "2", "3", None, "5"], "n": ["7", "8", "x", "x", "9"]}
    )
    requests = Requests(chat, dict(frame.schema), ENDPOINT)
    (batch,) = requests.batches(frame)
    assert sorted(batch.errors) == [1, 2, 3]
    assert "max_tokens" in str(batch.errors[2])
    assert str(batch.errors[3]) == "a is missing or empty", "a row's first error is said"
    assert [one.answer_tokens for one in batch.around] == [7, 9]
    assert len(batch) == len(frame)
    alone = [one for at in (0, 4) for one in requests.of(frame[[at]])]
    assert [one for one in batch.requests() if isinstance(one, PreparedRequest)] == alone
    assert [isinstance(one, RowError) for one in batch.requests()] == [False, True, True, True, False]
    assert [batch.digests(), batch.prompt_tokens] == [[r.digest for r in alone], [r.prompt_tokens for r in alone]]


@pytest.mark.parametrize(
    ("request_fields", "longest"),
    [
        pytest.param({"max_tokens": 300, "best_of": 2}, 600, id="of two answers"),
        pytest.param({"max_tokens": 2**33}, LARGEST, id="more than a plan's columns hold"),
    ],
)
def test_the_longest_answer_fits_into_a_plan(request_fields, longest):
    assert one({"model": "m", **request_fields}).answer_tokens == longest
