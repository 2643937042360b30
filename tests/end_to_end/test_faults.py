"""Everything that can go wrong on the wire, end to end: what heals, what fails a row, what stops the run."""

import socket
import sqlite3
from collections import Counter
from contextlib import closing

import pyarrow as pa
import pytest
from support.service import Cut, Hang, Raw, Reset, Status, completion_bytes, error_body, expected_answer

ATTEMPTS = 4
FEW = 5
"""Most tries of a row whose every try may have been billed."""


def rows_of(names) -> list[dict[str, str]]:
    return [{"id": f"r{n}", "name": str(name)} for n, name in enumerate(names)]


def prompt_of(row) -> str:
    return f"Write about {row['name']}."


def told(row) -> tuple:
    return row["status"], row["attempts"]


def assert_answered(rows) -> None:
    assert {row["id"]: row["error"] for row in rows if row["status"] != "ok"} == {}
    assert [row["text"] for row in rows] == [expected_answer(prompt_of(row))["text"] for row in rows]


def first(service, actions):
    """`actions` by prompt, each on the prompt's first request only."""
    return lambda _, body: actions.get(body["prompt"]) if service.asked[body["prompt"]] == 1 else None


def always(actions):
    return lambda _, body: actions.get(body["prompt"])


@pytest.fixture
def run(job, service, called):
    """`run(rows, script)`: writes the job with small retries and runs it; the summary with `--json`."""

    def start(rows, script=None, *arguments, **sections):
        sections = {"retry": {"attempts": ATTEMPTS, "max_wait": 0.1}, "limits": {"concurrency": 4}, **sections}
        path = job(rows, **sections)
        if script is not None:
            service.script = script
        return called("run", path, *arguments)

    return start


# what heals


def test_passing_troubles_heal_and_a_row_that_always_fails_is_tried_as_often_as_the_job_says(run, job, service):
    statuses = [408, 409, 500, 502, 503, 504, 507, 529, 500]
    rows = rows_of(statuses)
    rows[-1]["name"] = "always 500"
    healing = {prompt_of(row): Status(int(row["name"]), "<html>a proxy's</html>") for row in rows[:-1]}
    dead = Status(500, error_body("InternalServerError", "out of paper"))

    def script(n, body):
        return dead if "always" in body["prompt"] else first(service, healing)(n, body)

    ended = run(rows, script, "--json")

    assert (ended.returncode, service.violations) == (1, [])
    found = job.rows()
    assert_answered(found[:-1])
    assert [told(row) for row in found] == [*[("ok", 2)] * 8, ("failed", ATTEMPTS)]
    assert "out of paper" in found[-1]["error"]
    assert found[-1]["text"] is None
    assert service.asked[prompt_of(rows[-1])] == ATTEMPTS
    summary = ended.json
    counts = (summary["sent"], summary["retries"], summary["failed"], summary["possibly_billed"])
    assert counts == (16 + ATTEMPTS, 8 + ATTEMPTS - 1, 1, 1), "a gateway's 504 may have been billed"
    assert summary["failures"] == [f"row 9 (r8): {found[-1]['error']}"]


@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
def test_an_attempt_that_was_sent_and_not_answered_heals_and_counts_as_possibly_billed(stream, run, job, service):
    troubles = {"reset": Reset(), "short": Cut(chunked=False), "cut": Cut(chunked=True), "again": Reset()}
    if not stream:
        troubles["again"] = Hang()
    rows = rows_of(["fine", *troubles, "fine too"])
    actions = {f"Write about {name}.": action for name, action in troubles.items()}
    ended = run(rows, first(service, actions), timeout={"total": 300 if stream else 3}, request={"stream": stream})
    assert (ended.returncode, service.violations) == (0, []), ended.stdout
    assert_answered(job.rows())
    assert [row["attempts"] for row in job.rows()] == [1, 2, 2, 2, 2, 1]
    assert service.requests == 10
    assert "10 requests sent, 4 tried again, 4 possibly billed without an answer" in ended.stdout


def test_what_is_never_answered_is_tried_few_times(run, job, service):
    rows = rows_of(range(3))
    ended = run(rows, always({prompt_of(rows[1]): Reset()}), "--json", retry={"attempts": 20})
    assert ended.returncode == 1
    assert [told(row) for row in job.rows()] == [("ok", 1), ("failed", FEW), ("ok", 1)]
    assert ended.json["possibly_billed"] == service.asked[prompt_of(rows[1])] == FEW


RETRY_AFTER = [
    {"Retry-After": "0"},
    {"Retry-After": "0.05"},
    {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"},
    {"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"},
    {"retry-after-ms": "20"},
    {"Retry-After": "soon"},
    {"Retry-After": "-5"},
    {"Retry-After": "1000000000"},
    {"Retry-After": ""},
    {"retry-after-ms": "NaN", "Retry-After": "\u0661"},
    {},
]


def test_slow_down_heals_whatever_the_server_asks_to_wait(run, job, service):
    rows = rows_of(range(len(RETRY_AFTER)))
    busy = error_body("fail.tooManyRequestsLimitReached", "slow down")
    asks = {prompt_of(row): Status(429, busy, headers) for row, headers in zip(rows, RETRY_AFTER, strict=True)}
    ended = run(rows, first(service, asks), "--json")
    assert (ended.returncode, service.violations) == (0, [])
    assert_answered(job.rows())
    assert service.requests == 2 * len(rows)
    assert ended.json["possibly_billed"] == 0


# what fails a row


def test_a_row_that_cannot_be_served_fails_alone_named_with_its_reason_and_tried_once(run, job, service):
    wrong = {
        "too hot": (Status(400, error_body("InvalidInputParameters", "temperature too hot", "temperature")), "invalid"),
        "too long": (Status(413, "<html>413 Request Entity Too Large</html>"), "invalid"),
        "odd": (Status(422, error_body("BadRequest", "cannot be processed")), "invalid"),
        "media": (Status(415, error_body("InvalidContentType", "no such type")), "invalid"),
        "long model": (Status(400, error_body("BadRequest", "the model's maximum context length is 4")), "invalid"),
        "rude": (Status(400, error_body("fail.guardrail.blocked", "a guardrail said no")), "refused"),
        "unsafe": (Status(400, error_body("CompletionModelUnsafeRequestError", "not safe")), "refused"),
    }
    rows = rows_of(["fine", *wrong, "fine too"])
    actions = {f"Write about {name}.": action for name, (action, _) in wrong.items()}

    ended = run(rows, always(actions))

    assert (ended.returncode, service.violations) == (1, [])
    found = job.rows()
    assert_answered([found[0], found[-1]])
    for row, (action, outcome) in zip(found[1:-1], wrong.values(), strict=True):
        assert told(row) == ("failed", 1)
        assert row["error"].startswith(f"{outcome}: {action.status}")
        assert (row["text"], row["model"], row["log_probs"], row["latency_s"]) == (None, None, None, None)
    assert "temperature too hot" in found[1]["error"]
    assert service.requests == len(rows)
    assert "2 of 9 rows have their text" in ended.stdout
    assert "7 rows: 5 invalid, 2 refused" in ended.stdout
    assert "row 2 (r1): invalid: 400 InvalidInputParameters temperature too hot" in ended.stdout
    assert "and 2 more" in ended.stdout


UNUSABLE = {
    "empty": b"",
    "half": b'{"choices": [{"text": "ha',
    "html": b"<html>Welcome to the captive portal</html>",
    "no choices": b'{"choices": []}',
    "choices missing": b'{"model": "palmyra-x5"}',
    "null text": b'{"choices": [{"text": null}]}',
    "number": b'{"choices": [{"text": 1}]}',
    "bad utf8": b'{"choices": [{"text": "\xff"}]}',
    "two values": b'{"choices": [{"text": "a"}]}{"choices": [{"text": "b"}]}',
    "deep": b'{"choices":' + b"[" * 5000,
    "broken event": b'data: {"value": "a"}\n\ndata: {"val',
}


def test_an_unusable_200_is_tried_few_times_and_kept_as_it_came(run, job, service):
    rows = rows_of(["fine", *UNUSABLE, "heals"])
    actions = {f"Write about {name}.": Raw(body) for name, body in UNUSABLE.items()}

    def script(n, body):
        return first(service, {"Write about heals.": Raw(b"{}")})(n, body) or actions.get(body["prompt"])

    ended = run(rows, script, "--json", retry={"attempts": 20})

    assert (ended.returncode, service.violations) == (1, [])
    found = {row["name"]: row for row in job.rows()}
    assert_answered([found.pop("heals"), found.pop("fine")])
    assert {name: told(row) for name, row in found.items()} == dict.fromkeys(UNUSABLE, ("failed", FEW))
    assert all(row["error"].startswith("unusable: ") and row["text"] is None for row in found.values())
    assert ended.json["possibly_billed"] == FEW * len(UNUSABLE) + 1
    healthy = {f"Write about {name}." for name in ("heals", "fine")}
    answered = {completion_bytes(body) for body in service.bodies if body["prompt"] in healthy}
    assert kept_bodies(job.checkpoint) == {*UNUSABLE.values(), b"{}", *answered}
    assert {headers["Accept-Encoding"] for headers in service.headers} == {"identity"}


def kept_bodies(checkpoint) -> set[bytes]:
    with closing(sqlite3.connect(f"{checkpoint.as_uri()}?mode=ro", uri=True)) as db:
        stored = db.execute("SELECT size, body FROM bodies").fetchall()
    return {body if size is None else pa.decompress(body, size, codec="lz4", asbytes=True) for size, body in stored}


# what stops the run

STOPS = {
    "401": (Status(401, error_body("Unauthorized", "no such key: test-key-4f1d0c")), "WRITER_API_KEY"),
    "model": (Status(404, error_body("NotFound", "model palmyra-x5 not found", "model")), "request.model"),
    "quota": (Status(429, error_body("CompletionModelQuotaError", "quota", None), {"Retry-After": "1"}), "month"),
}


@pytest.mark.parametrize("cause", STOPS)
def test_a_refused_run_stops_says_what_to_do_and_goes_on_when_that_is_done(cause, run, job, service, called):
    action, advice = STOPS[cause]
    rows = rows_of(range(40))

    ended = run(rows, lambda n, _: action if n > 10 else None)

    assert ended.returncode == 4
    assert service.requests <= 10 + 4
    assert "refused: 10 of 40 rows have their text, 30 still to do" in ended.stdout
    assert advice in ended.stdout
    assert "the same command resumes" in ended.stdout
    assert service.key not in ended.stdout + ended.stderr
    assert Counter(row["status"] for row in job.rows()) == {"ok": 10, "pending": 30}
    assert_answered([row for row in job.rows() if row["status"] == "ok"])
    for file in job.files():
        assert service.key.encode() not in (job.folder / file).read_bytes(), file

    service.script = None
    again = called("run", job.folder / "job.yaml", "--json")
    assert (again.returncode, again.json["sent"], again.json["reused"]) == (0, 30, 10)
    assert service.served == Counter(map(prompt_of, rows))
    assert_answered(job.rows())


@pytest.mark.parametrize(
    ("action", "advice"),
    [
        (Status(402, error_body("PaymentRequired", "no credit")), "WRITER_API_KEY"),
        (Status(403, "<html>Forbidden</html>"), "WRITER_API_KEY"),
        (Status(400, error_body("BadRequest", "palmyra-x5 is no longer available")), "request.model"),
    ],
    ids=["402", "403", "400 model"],
)
def test_a_run_that_is_refused_from_the_start_wastes_few_requests(action, advice, run, job, service):
    ended = run(rows_of(range(40)), lambda *_: action)
    assert ended.returncode == 4
    assert service.requests <= 4
    assert advice in ended.stdout
    assert {row["status"] for row in job.rows()} == {"pending"}


def test_a_model_that_one_row_asked_for_is_that_rows_fault(run, job, service):
    rows = [{**row, "wanted": "palmyra-x7" if row["id"] == "r1" else ""} for row in rows_of(range(4))]
    unknown = Status(404, error_body("NotFound", "model palmyra-x7 does not exist", "model"))
    ended = run(rows, lambda _, body: unknown if body["model"] == "palmyra-x7" else None, columns={"model": "wanted"})
    assert ended.returncode == 1
    assert [told(row) for row in job.rows()] == [("ok", 1), ("failed", 1), ("ok", 1), ("ok", 1)]
    assert job.rows()[1]["error"].startswith("model: 404")


def test_no_redirect_is_followed(run, job, service):
    elsewhere = {"Location": f"{service.url}/elsewhere"}
    ended = run(rows_of(range(10)), lambda n, _: Status([302, 303, 307, 308][n % 4], "", elsewhere))
    assert ended.returncode == 4
    assert service.strays == []
    assert service.requests <= 4
    assert "endpoint.url" in ended.stdout
    assert {row["status"] for row in job.rows()} == {"pending"}


def test_a_wrong_address_stops_the_run(run, job, service):
    ended = run(rows_of(range(30)), endpoint={"url": f"{service.url}/wrong"})
    assert ended.returncode == 4
    assert set(service.strays) == {"POST /wrong/v1/completions"}
    assert service.requests <= 4
    assert "endpoint.url" in ended.stdout
    assert "404" in ended.stdout


def test_a_404_after_answers_is_about_its_row(run, job, service):
    rows = rows_of(range(6))
    script = always({prompt_of(rows[5]): Status(404, "<html>Not Found</html>")})
    ended = run(rows, script, limits={"concurrency": 1})
    assert ended.returncode == 1
    assert_answered(job.rows()[:5])
    assert told(job.rows()[5]) == ("failed", 1)


def test_nobody_listens(job, called, impatient):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sections = {"retry": {"attempts": ATTEMPTS, "max_wait": 0.1}, "endpoint": {"url": f"http://127.0.0.1:{port}"}}
    ended = called("run", job(rows_of(range(3)), **sections), "--json")
    assert ended.returncode == 3
    assert (ended.json["failed"], ended.json["pending"], ended.json["possibly_billed"]) == (0, 3, 0)
    assert f"no answer for 1 s: unsent: no connection: 127.0.0.1:{port}" in ended.json["stopped"]
