"""The check on a text: judged when it comes, asked for again, kept when it never passes, and judged again whenever
the job's check is another one."""

import json
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st
from support.service import PATIENCE, Hold, Raw, Status

from batchgen.errors import UsageError
from batchgen.job.answer_columns import columns_asked_for
from batchgen.job.checker import CheckedAnswer, Checker
from batchgen.job.checks import Check
from batchgen.job.load import read_job
from batchgen.output.typed_columns import typed

LONG = "A long and useful text about this product. " * 3
SHORT = "Too short."


def rows(*names):
    return [{"id": f"{n:02}", "name": name} for n, name in enumerate(names)]


def prompt(name):
    return f"Write about {name}."


class Texts:
    """A script for the service: for each name the texts that answer it, in order, the last again and again."""

    def __init__(self, **texts):
        self.texts, self.asked = texts, Counter()

    def __call__(self, _, body):
        name = body["prompt"].removeprefix("Write about ").removesuffix(".")
        said = self.texts.get(name, [LONG])
        text = said[min(self.asked[name], len(said) - 1)]
        self.asked[name] += 1
        if isinstance(text, Status | Hold):
            return text
        if body.get("stream"):
            return Raw(f"data: {json.dumps({'value': text})}\n\ndata: [DONE]\n\n".encode(), "text/event-stream")
        choices = [{"text": text, "log_probs": {"content": [{"token": text[:3], "logprob": -0.5, "top_logprobs": []}]}}]
        return Raw(json.dumps({"choices": choices, "model": "served"}).encode())


def attempts(job):
    """(outcome, final, whether the body is stored) of every attempt, in order."""
    with closing(sqlite3.connect(job.checkpoint)) as db:
        sql = "SELECT outcome, final, body IS NOT NULL FROM attempts LEFT JOIN bodies USING (id) ORDER BY id"
        return db.execute(sql).fetchall()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_unfit_text_is_asked_for_again_and_the_last_is_kept(job, called, service, stream):
    service.script = Texts(never=["1", "22", "333", "4444"], third=["no", "no", LONG])
    checked = {"check": {"min_chars": 100, "retries": 2}, "request": {"stream": stream}}
    ended = called("run", job(rows("good", "never", "third"), **checked), "--json")
    assert ended.returncode == 1
    assert service.script.asked == {"good": 1, "never": 3, "third": 3}
    good, never, third = job.rows()
    assert [row["status"] for row in (good, never, third)] == ["ok", "failed", "ok"]
    assert never["text"] == "333"
    assert never["error"] == "unfit: the text has 3 characters, fewer than 100"
    assert never["model"] == ("palmyra-x5" if stream else "served")
    assert never["latency_s"] > 0
    assert (never["log_probs"] is None) == stream
    assert [row["attempts"] for row in (good, never, third)] == [1, 3, 3]
    assert (third["text"], third["error"]) == (LONG, None)
    summary = ended.json
    assert (summary["reasons"], summary["retries"], summary["possibly_billed"]) == ({"unfit": 1}, 4, 0)
    assert summary["failures"] == ["row 2 (01): unfit: the text has 3 characters, fewer than 100"]
    told = Counter(attempts(job))
    assert told == {("ok", 1, 1): 2, ("unfit", 0, 1): 4, ("unfit", 1, 1): 1}, "every body that was billed is kept"


def test_the_next_run_tries_again_unless_it_is_told_not_to(job, called, service):
    service.script = Texts(never=[SHORT])
    path = job(rows("good", "never"), check={"min_chars": 100, "retries": 1})
    assert called("run", path).returncode == 1
    assert service.script.asked == {"good": 1, "never": 2}
    before = job.rows()
    ended = called("run", path, "--no-retry-failed", "--json")
    assert (ended.returncode, ended.json["sent"]) == (1, 0)
    assert job.rows() == before
    assert before[1]["text"] == SHORT
    assert called("run", path).returncode == 1
    assert service.script.asked == {"good": 1, "never": 4}
    assert job.rows()[1]["attempts"] == 4


def test_where_all_answers_are_cut_the_warning_says_what_lengthens_them(job, called, service):
    """The check is not wrong: each answer is billed, and cut."""
    cut = json.dumps({"choices": [{"text": "An article that", "finish_reason": "length"}], "model": "served"}).encode()
    service.script = lambda *_: Raw(cut)
    ended = called("run", job(rows(*map(str, range(30))), check={"complete": True}))
    assert ended.stderr.count("none passes it, the last one since") == 1
    assert "Stop the run and raise request.max_tokens, or the model's context" in ended.stderr
    assert "If the check is wrong" not in ended.stderr


def test_none_is_asked_for_again_where_the_job_says_so(job, called, service):
    service.script = Texts(never=[SHORT])
    assert called("run", job(rows("never"), check={"min_chars": 100, "retries": 0})).returncode == 1
    assert service.script.asked == {"never": 1}


@pytest.mark.parametrize(("passing", "warned"), [((), 1), (("a0",), 0), (("a29",), 1)])
def test_a_check_that_no_text_passes_is_warned_of_once(job, called, service, passing, warned):
    """Each answer is billed, three for each row; one that passed says that the check can be passed."""
    names = [f"a{n}" for n in range(30)]
    service.script = Texts(**{name: [LONG if name in passing else SHORT] for name in names})
    ended = called("run", job(rows(*names), check={"min_chars": 100}, limits={"concurrency": 1}))
    assert ended.returncode == 1
    assert ended.stderr.count("24 answers have come, and none passes it, the last one since the text has 10") == warned


def test_tries_for_unfit_texts_are_their_own(job, called, service):
    """Other failures take none of them, and they take none of the others'."""
    fail = Status(500)
    service.script = Texts(mixed=[SHORT, fail, SHORT, fail, LONG])
    path = job(rows("mixed"), check={"min_chars": 100, "retries": 2}, retry={"attempts": 3, "max_wait": 0.01})
    assert called("run", path).returncode == 0
    assert service.script.asked == {"mixed": 5}


@pytest.mark.parametrize("retry_failed", [True, False], ids=["", "no-retry-failed"])
def test_a_check_that_came_later_judges_what_is_stored(job, called, service, retry_failed):
    service.script = Texts(short=[SHORT], mended=[SHORT, SHORT, LONG])
    given = rows("good", "short", "mended")
    path = job(given)
    assert called("run", path).returncode == 0
    job(given, check={"min_chars": 100, "retries": 1})
    assert called("export", path).returncode == 0
    beside = job.output.with_name("job.partial.parquet")  # there were three texts that served
    assert [row["status"] for row in job.rows(beside)] == ["ok", "failed", "failed"]
    assert [row["text"] for row in job.rows(beside)] == [LONG, SHORT, SHORT]
    flag = [] if retry_failed else ["--no-retry-failed"]
    planned = called("plan", path, "--json", *flag).json
    ended = called("run", path, "--json", *flag)
    summary = ended.json
    assert ended.returncode == 1
    assert summary["reused"] == planned["reused"] == 1
    if retry_failed:
        assert (planned["todo"], planned["failed_before"], planned["gone"]) == (2, 2, 0)
        assert service.script.asked == {"good": 1, "short": 3, "mended": 3}
        assert [row["status"] for row in job.rows(beside)] == ["ok", "failed", "ok"]
    else:
        assert planned["todo"] == summary["sent"] == 0
        assert service.script.asked == {"good": 1, "short": 1, "mended": 1}
        assert [row["text"] for row in job.rows(beside)] == [LONG, SHORT, SHORT]
        assert [row["status"] for row in job.rows(beside)] == ["ok", "failed", "failed"]


@pytest.mark.parametrize("check", [None, {"min_chars": 5}], ids=["removed", "loosened"])
def test_a_stored_text_that_now_passes_is_not_bought_again(job, called, service, check):
    service.script = Texts(short=[SHORT])
    given = rows("good", "short")
    path = job(given, check={"min_chars": 100})
    assert called("run", path).returncode == 1
    assert service.script.asked["short"] == 3
    job(given, **({"check": check} if check else {}))
    planned = called("plan", path, "--json").json
    assert (planned["todo"], planned["reused"], planned["gone"]) == (0, 2, 0)
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["sent"], ended.json["reused"]) == (0, 0, 2)
    assert [(row["status"], row["text"], row["error"]) for row in job.rows()] == [
        ("ok", LONG, None),
        ("ok", SHORT, None),
    ]
    job(given, check={"min_chars": 100})
    assert called("run", path).returncode == 1
    assert service.script.asked["short"] == 6


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        pytest.param({"min_chars": 100}, None, "All 2 rows have their text", id="removed"),
        pytest.param(None, {"min_chars": 100}, "1 failed", id="that came later"),
    ],
)
def test_status_and_report_count_by_the_check_that_the_run_had(job, called, service, before, after, said):
    service.script = Texts(short=[SHORT])
    given = rows("good", "short")
    called("run", job(given, **({"check": before} if before else {})))
    path = job(given, **({"check": after} if after else {}))
    ended = called("run", path, "--json", "--no-retry-failed").json
    assert ended["sent"] == 0
    status = called("status", path, "--json").json
    counted = {name: status[name] for name in ("rows", "done", "failed", "left")}
    assert counted == {"rows": 2, "done": ended["ok"], "failed": ended["failed"], "left": 0}
    assert called("report", path).returncode == 0
    assert said in job.output.with_name("job.report.html").read_text(encoding="utf-8")


def test_further_choices_of_an_unfit_answer_are_kept_too(job, called, service):
    choices = {"choices": [{"text": SHORT}, {"text": LONG}], "model": "served"}
    service.script = lambda *_: Raw(json.dumps(choices).encode())
    path = job(rows("short"), check={"min_chars": 100, "retries": 0}, request={"best_of": 2})
    assert called("run", path).returncode == 1
    (row,) = job.rows()
    assert (row["status"], row["text"]) == ("failed", SHORT), "the first choice is the one that counts"
    assert [choice["text"] for choice in row["more_choices"]] == [LONG]


def test_a_damaged_answer_beside_it_buys_no_further_tries(job, called, service):
    """The run has another pass for what is damaged; what failed in the first one has had its tries."""
    service.script = Texts(never=[SHORT])
    path = job(rows("good", "never"), check={"min_chars": 100, "retries": 1})
    assert called("run", path).returncode == 1
    with closing(sqlite3.connect(job.checkpoint, isolation_level=None)) as db:
        db.execute("UPDATE bodies SET body = x'00' WHERE id = (SELECT id FROM attempts WHERE outcome = 'ok')")
    assert called("run", path).returncode == 1
    assert service.script.asked == {"good": 2, "never": 4}
    assert [row["status"] for row in job.rows()] == ["ok", "failed"]


def test_a_fresh_run_takes_no_text_of_before(job, called, service):
    service.script = Texts(short=[SHORT, LONG])
    path = job(rows("short"), check={"min_chars": 100, "retries": 0})
    assert called("run", path).returncode == 1
    job(rows("short"))
    assert called("run", path, "--fresh").returncode == 0
    assert job.rows()[0]["text"] == LONG


def test_killed_in_the_middle_nothing_is_bought_beyond_the_rule(job, start, called, service):
    """One row was told once that its text is unfit, and is in flight again when the process dies."""
    held = Texts(tried=[SHORT, Hold()], never=[SHORT])
    service.script = held
    path = job(rows("good", "never", "tried"), check={"min_chars": 100, "retries": 1})
    process = start("run", path, "--quiet")
    service.wait(lambda service: service.asked[prompt("tried")] == 2 and service.asked[prompt("never")] == 2)
    with closing(sqlite3.connect(job.checkpoint)) as db:
        until = time.monotonic() + PATIENCE
        while db.execute("SELECT count(*) FROM attempts").fetchone()[0] < 4:
            assert time.monotonic() < until
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE)
    held.texts["tried"] = [SHORT]
    ended = called("run", path, "--json")
    assert ended.returncode == 1
    assert ended.json["interrupted"] == 1
    assert held.asked == {"good": 1, "never": 4, "tried": 4}, "a run asks for a text at most twice"
    assert [(row["status"], row["text"]) for row in job.rows()] == [
        ("ok", LONG),
        ("failed", SHORT),
        ("failed", SHORT),
    ]
    assert job.rows()[2]["attempts"] == 4


def test_a_run_that_was_stopped_leaves_what_was_to_be_asked_again_pending(job, called, service):
    service.script = Texts(short=[SHORT])
    path = job(rows("short"), check={"min_chars": 100}, until={"requests": 2})
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["pending"]) == (3, 1)
    assert [(row["status"], row["text"]) for row in job.rows()] == [("pending", None)]
    job(rows("short"))
    assert called("run", path).returncode == 0
    assert service.script.asked == {"short": 2}, "what was bought is good enough now"
    assert job.rows()[0]["text"] == SHORT


def test_damage_to_an_unfit_text_is_found(job, called, service):
    service.script = Texts(short=[SHORT])
    path = job(rows("short"), check={"min_chars": 100, "retries": 0})
    assert called("run", path).returncode == 1
    with closing(sqlite3.connect(job.checkpoint, isolation_level=None)) as db:
        db.execute("UPDATE bodies SET body = x'00'")
    job(rows("short"))
    assert called("run", path).returncode == 0
    assert service.script.asked == {"short": 2}


def test_a_budget_is_spent_on_unfit_texts_too(job, called, service):
    service.script = Texts(**{f"short{n}": [SHORT] for n in range(6)})
    given = rows(*[f"short{n}" for n in range(6)])
    path = job(given, check={"min_chars": 100, "retries": 1}, until={"requests": 7}, limits={"concurrency": 1})
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["sent"], ended.json["failed"]) == (3, 7, 3)


# The texts alone

HOSTILE = "a" * 200_000 + "!"
PRICE = {"type": "object", "required": ["price"], "properties": {"price": {"type": "number", "minimum": 0}}}


@pytest.mark.parametrize(
    ("check", "text", "why"),
    [
        ({"min_chars": 3}, "abc", None),
        ({"min_chars": 3}, "ab", "the text has 2 characters, fewer than 3"),
        ({"min_chars": 2}, "", "the text has 0 characters, fewer than 2"),
        ({"min_chars": 2}, "é", "the text has 1 character, fewer than 2"),
        ({"max_chars": 3}, "🏕東é", None),
        ({"max_chars": 1999}, "x" * 2000, "the text has 2,000 characters, more than 1,999"),
        ({"matches": "^# "}, "# Title", None),
        ({"matches": "^# "}, "Title # ", "the text does not match '^# '"),
        ({"matches": r"(?m)^\w+$"}, "-\nnaïve", None),
        ({"not_matches": "(?i)as an ai"}, "As an AI, I cannot", "the text matches '(?i)as an ai'"),
        ({"not_matches": "(?i)as an ai"}, "as a baker", None),
        ({"matches": "a", "not_matches": "b"}, "ab", "the text matches 'b'"),
        ({"json_schema": PRICE}, '{"price": 1.5}', None),
        ({"json_schema": PRICE}, ' {"price": 0}\n', None),
        ({"json_schema": PRICE}, '{"price": "1"}', "the text's JSON does not fit: /price: \"1\" is not of type \"number\""),
        ({"json_schema": PRICE}, "{}", "the text's JSON does not fit: all of it: \"price\" is a required property"),
        ({"json_schema": PRICE}, '```json\n{"price": 1}\n```', None),
        ({"json_schema": PRICE}, 'Here: ```json\n{"price": 1}\n```', "the text is not JSON: "),
        ({"json_schema": PRICE}, '{"price": NaN}', "the text is not JSON: "),
        ({"json_schema": PRICE}, "", "the text is not JSON: "),
        ({"json_schema": {"type": "array"}}, "[" * 100_000, "the text is not JSON: nested absurdly deep"),
        ({"json_schema": {"items": {"$ref": "#"}}}, "[" * 400 + "]" * 400, None),
        ({"json_schema": {"type": "integer"}}, "[" * 400 + "]" * 400, "the text's JSON cannot be judged: Recursion limit reached"),
        ({"json_schema": {"const": 1}}, '{"a":' * 400 + "1" + "}" * 400, "the text's JSON cannot be judged: Recursion limit reached"),
        ({"json_schema": {"$ref": "#"}}, "1", None),
        # patterns that take for ever elsewhere
        ({"matches": "^(a+)+$"}, HOSTILE, "the text does not match '^(a+)+$'"),
        ({"not_matches": "(a*)*c"}, HOSTILE, None),
        ({"json_schema": {"pattern": "^(a+)+$"}}, json.dumps(HOSTILE), "the text's JSON does not fit: "),
        ({"json_schema": {"patternProperties": {"^(a+)+$": False}}}, json.dumps({HOSTILE: 1}), None),
        ({"json_schema": {"uniqueItems": True}}, json.dumps([{"n": n} for n in range(20_000)]), None),
    ],
)  # fmt: skip
def test_why_a_text_is_unfit(check, text, why):
    told = [one and one.why for one in Checker(Check.model_validate(check)).failures([CheckedAnswer(text)] * 2)]
    assert told[0] == told[1]
    if why is None or not why.endswith(": "):
        assert told[0] == why
    else:
        assert told[0].startswith(why)
        assert len(told[0]) < 300


def test_texts_are_judged_together_as_they_are_alone():
    checker = Checker(Check.model_validate({"min_chars": 2, "matches": "b", "json_schema": {"type": "string"}}))
    texts = ['"b"', "b", "ab", '"a"', "", '"ab"']
    given = [CheckedAnswer(text) for text in texts]
    assert checker.failures(given) == [checker.failures([one])[0] for one in given]
    assert [why is None for why in checker.failures(given)] == [True, False, False, False, False, True]
    assert checker.failures([]) == []


def schema_of(kind):
    return {"type": "object", "properties": {"a": kind}}


def why_unfit(kind, text):
    """Why an answer is unfit whose property `a` is of some type, and a column."""
    schema = schema_of(kind)
    checker = Checker(Check.model_validate({"json_schema": schema}), columns_asked_for(["a"], schema))
    (unfit,) = checker.failures([CheckedAnswer(text)])
    return unfit and unfit.why


MOMENT, DAY = {"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}
DIGITS = "9" * 400
NOT_IN_COLUMN = "the text's JSON does not fit its columns: /a: "


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (MOMENT, '"9999-12-31T23:59:59Z"', None),
        (MOMENT, '"9999-12-31T23:59:59-05:00"', "date value out of range"),
        (MOMENT, '"0001-01-01T00:00:00+05:00"', "date value out of range"),
        (MOMENT, '"2026-01-01T00:00:00"', "'2026-01-01T00:00:00' has no offset from UTC"),
        ({"type": "array", "items": MOMENT}, '["9999-12-31T23:59:59-05:00"]', "date value out of range"),
        (DAY, '"10000-01-01"', "Invalid isoformat string: '10000-01-01'"),
        ({"type": "number"}, DIGITS, "int too large to convert to float"),
        ({"type": "integer"}, "9223372036854775807", None),
        ({"type": "integer"}, "9223372036854775808", "9223372036854775808 does not fit into 64 bits"),
        ({"type": "integer"}, "1e300", "100000000000000005250476025520 does not fit into 64 bits"),
        ({"type": "integer"}, DIGITS, f"{DIGITS[:30]} does not fit into 64 bits"),
        ({}, DIGITS, None),
    ],
)  # fmt: skip
def test_why_a_value_is_unfit_for_its_column(kind, value, why):
    assert why_unfit(kind, f'{{"a": {value}}}') == (why and NOT_IN_COLUMN + why)


SCALARS = [{}, MOMENT, DAY, *({"type": name} for name in ("string", "number", "integer", "boolean"))]
KINDS = st.recursive(
    st.sampled_from(SCALARS),
    lambda kinds: (
        st.builds(lambda kind: {"type": "array", "items": kind}, kinds)
        | st.builds(lambda fields: {"type": "object", "properties": fields}, st.dictionaries(st.text(), kinds))
    ),
    max_leaves=5,
)
MOMENTS = st.builds(
    str.__add__,
    st.datetimes().map(lambda moment: moment.isoformat())
    | st.sampled_from(["0001-01-01T00:00:00", "9999-12-31T23:59:59"]),
    st.sampled_from(["", "Z", "+23:59", "-23:59"]),
)
NUMBERS = st.integers() | st.floats() | st.integers(19, 4300).map(lambda digits: 10**digits - 1)
TEXTS = st.text() | MOMENTS | st.dates().map(str)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=10,
)


def values_of(kind):
    """Values that pass a schema of this type more often than any value does."""
    if kind.get("type") == "array":
        return VALUES | st.lists(values_of(kind["items"]))
    if kind.get("type") == "object":
        return VALUES | st.fixed_dictionaries({name: values_of(one) for name, one in kind["properties"].items()})
    plain = {"string": TEXTS, "number": NUMBERS, "integer": NUMBERS}
    return MOMENTS if kind == MOMENT else plain.get(kind.get("type"), VALUES)


@for_all(st.data())
def test_no_value_in_any_column_raises(data):
    for kind in [*SCALARS, data.draw(KINDS)]:
        text = json.dumps({"a": data.draw(values_of(kind))})
        why = why_unfit(kind, text)
        (array,) = typed([text], columns_asked_for(["a"], schema_of(kind)))
        assert why is None or not why.startswith(NOT_IN_COLUMN) or array.null_count == 1


@pytest.mark.parametrize("depth", [100, 900, 950, 980, 1_000, 100_000])
@pytest.mark.parametrize("kind", SCALARS, ids=str)
def test_no_depth_of_nesting_raises(kind, depth):
    kind = {"type": "object", "properties": {"b": kind, "c": {}}}
    why = why_unfit(kind, f'{{"a": {{"c": {"[" * depth}{"]" * depth}}}}}')
    assert why is None or "nested absurdly deep" in why


def test_a_value_that_no_column_takes_fails_its_row_and_not_the_run(job, called, service):
    service.script = Texts(
        good=['{"a": "2026-11-29T12:00:00Z", "n": 1}'],
        sentinel=['{"a": "9999-12-31T23:59:59-05:00", "n": 1}'],
        digits=[f'{{"a": "2026-11-29T12:00:00Z", "n": {DIGITS}}}'],
    )
    schema = {"type": "object", "properties": {"a": MOMENT, "n": {"type": "number"}}}
    checked = {"check": {"json_schema": schema, "retries": 1}, "output": {"columns": True}}
    path = job(rows("sentinel", "digits", "good"), **checked, limits={"concurrency": 1})
    ended = called("run", path, "--json")
    assert (ended.returncode, ended.json["reasons"]) == (1, {"unfit": 2}), ended.stderr
    assert service.script.asked == {"sentinel": 2, "digits": 2, "good": 1}
    sentinel, digits, good = job.rows()
    assert [row["status"] for row in (sentinel, digits, good)] == ["failed", "failed", "ok"]
    assert sentinel["error"] == f"unfit: {NOT_IN_COLUMN}date value out of range"
    assert (sentinel["a"], sentinel["n"], good["n"]) == (None, None, 1.0)
    assert called("run", path, "--no-retry-failed").returncode == 1, "a later run reads what was stored"


# The job file


def test_a_schema_may_be_in_a_file_of_its_own(job, called, service):
    (job.folder / "schemas").mkdir()
    (job.folder / "schemas" / "price.json").write_text(json.dumps(PRICE))
    service.script = Texts(good=['{"price": 2}'], bad=["two dollars"])
    path = job(rows("good", "bad"), check={"json_schema": "schemas/price.json", "retries": 0})
    assert called("run", path).returncode == 1
    assert [row["status"] for row in job.rows()] == ["ok", "failed"]
    assert read_job(path).check.json_schema == PRICE


def test_no_schema_is_fetched(job, service):
    """Neither from a server nor from another file: each would be there."""
    (job.folder / "other.json").write_text(json.dumps(PRICE))
    text = job(rows("one")).read_text()
    for reference in (f"{service.url}/schema.json", (job.folder / "other.json").as_uri()):
        path = job.folder / "job.yaml"
        path.write_text(f"{text}check: {{json_schema: {{$ref: '{reference}'}}}}\n")
        with pytest.raises(UsageError, match="is not present in a registry"):
            read_job(path)
    assert service.requests == 0


@pytest.mark.parametrize(
    ("check", "told"),
    [
        ("{retries: 3}", "check: names no condition"),
        ("{min_chars: 5, max_chars: 4}", "check: no text has at least 5 and at most 4 characters"),
        ("{min_chars: 0}", "check.min_chars: should be greater than or equal to 1, not 0"),
        ("{retries: -1, min_chars: 1}", "check.retries: should be greater than or equal to 0, not -1"),
        ("{minchars: 5}", "check.minchars: unknown key; did you mean min_chars?"),
        ("{matches: '(?=a)b'}", "check.matches: should be a regular expression of Rust's kind: look-around, including look-ahead and look-behind, is not supported, not '(?=a)b'"),
        ("{not_matches: '(?<!a)b'}", "check.not_matches: should be a regular expression of Rust's kind: look-around"),
        (r"{matches: '(a)\1'}", "check.matches: should be a regular expression of Rust's kind: backreferences are not supported"),
        ("{matches: '('}", "check.matches: should be a regular expression of Rust's kind: unclosed group"),
        ("{matches: '(a{1000}){1000}'}", "check.matches: should be a regular expression of Rust's kind: it is too large"),
        ("{matches: ''}", "check.matches: should not be empty"),
        ("{json_schema: {type: nonsense}}", 'check.json_schema: is not a JSON Schema at /type: "nonsense" is not valid'),
        ("{json_schema: {$ref: 'https://example.com/a.json'}}", "check.json_schema: is not a JSON Schema: Resource 'https://example.com/a.json' is not present"),
        ("{json_schema: {properties: {a: {$ref: '#/$defs/none'}}}}", "check.json_schema: is not a JSON Schema: Pointer '/$defs/none' does not exist"),
        ("{json_schema: {$ref: 'file:///etc/passwd'}}", "check.json_schema: is not a JSON Schema: Resource 'file:///etc/passwd'"),
        ("{json_schema: {pattern: '(?=a)'}}", 'check.json_schema: is not a JSON Schema at /pattern: "(?=a)" is not a "regex"'),
        ("{json_schema: none.json}", "none.json: cannot be read: No such file or directory"),
        ("{json_schema: /dev/zero}", "/dev/zero: is not a regular file"),
        ("{json_schema: rows.csv}", "rows.csv: is not JSON: "),
        ("{json_schema: list.json}", "should hold a JSON object"),
        ("{json_schema: 5}", "check.json_schema: should be "),
    ],
)  # fmt: skip
def test_a_check_that_cannot_be_judged_is_refused(job, check, told):
    path = job(rows("one"))
    (job.folder / "list.json").write_text("[]")
    path.write_text(f"{path.read_text()}check: {check}\n")
    with pytest.raises(UsageError) as refused:
        read_job(path)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{path}:{len(path.read_text().splitlines())}:")
    assert told in line


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"request": {"temperature": 0}, "check": {"min_chars": 9}}, "check.retries: with request.temperature 0"),
        ({"request": {"random_seed": 3}, "check": {"matches": "a"}}, "check.retries: with request.random_seed 3"),
        ({"request": {"temperature": 0}, "check": {"min_chars": 9, "retries": 0}}, None),
        ({"request": {"temperature": 0}}, None),
        ({"request": {"temperature": 0.1}, "check": {"min_chars": 9}}, None),
        ({"check": {"min_chars": 201}}, "check.min_chars: 50 tokens are about 200 characters"),
        ({"check": {"min_chars": 200}}, None),
        ({"request": {"max_tokens": None}, "check": {"min_chars": 401}}, "check.min_chars: 100 tokens are about 400"),
    ],
)
def test_what_asking_again_cannot_mend_is_told_before(job, called, sections, told):
    warnings = called("plan", job(rows("one"), **sections), "--json").json["warnings"]
    warnings = [warning for warning in warnings if warning.startswith("check")]
    assert len(warnings) == (told is not None)
    assert all(warning.startswith(told) for warning in warnings)
