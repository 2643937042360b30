"""Chats in both dialects, whole and streamed, against a strict server: texts, counts, reasons and columns are exact."""

import json

import pyarrow as pa
import pytest
from support import chat_server
from support.chat_server import ChatServer

MESSAGES = [
    {"system": "You write for {{ audience or 'everyone' }}.\n"},
    {"user": 'Write about {{ name }}: "{{ note }}"'},
]
NOTES = ["plain", "cut me", "think", "refuse me", "filter me", "think, and cut me", '東京\n\t🏕️ "quoted"']
ROWS = [
    {"id": f"{n:03}", "name": f"tent {n}", "audience": "families" if n % 2 else "", "note": NOTES[n % len(NOTES)]}
    for n in range(21)
]


@pytest.fixture(params=["writer", "openai"])
def server(request):
    with ChatServer(request.param) as server:
        yield server


def chat(job, server, rows=ROWS, request=None, **sections):
    path = job(
        rows,
        request={"max_tokens": 50, **(request or {})},
        endpoint={"api": server.api, **({"url": server.url} if server.api == "openai" else {})},
        messages=sections.pop("messages", MESSAGES),
        **sections,
    )
    text = path.read_text()
    path.write_text(text.replace("prompt: Write about {{ name }}.\n", ""))
    return path


def run(command, server, path, *options):
    return command("run", *options, path, env={"WRITER_BASE_URL": server.url})


def body_of(row, request):
    audience = row["audience"] or "everyone"
    said = [
        {"role": "system", "content": f"You write for {audience}."},
        {"role": "user", "content": f'Write about {row["name"]}: "{row["note"]}"'},
    ]
    return {"model": "palmyra-x5", "messages": said, "max_tokens": 50, **request}


def outcome(row, request):
    """The columns that a row must have, by the server's own rules."""
    body = body_of(row, request)
    refused = "refuse me" in row["note"] or "filter me" in row["note"]
    text = chat_server.texts(body)[0]
    usage = chat_server.usage(body)
    log_probs = chat_server.logprobs(text, tops=body.get("top_logprobs", 1)) if body.get("logprobs") else None
    return {
        "status": "failed" if refused else "ok",
        "text": None if refused else text,
        "model": None if refused else "served/palmyra-x5",
        "log_probs": None if refused or log_probs is None else {**log_probs, "refusal": None},
        "finish_reason": None if refused else chat_server.reason(body),
        "prompt_tokens": None if refused else usage["prompt_tokens"],
        "completion_tokens": None if refused else usage["completion_tokens"],
        "reasoning": None if refused else chat_server.reasoning(body),
    }


@pytest.mark.parametrize("stream", [pytest.param(False, id="whole"), pytest.param(True, id="streamed")])
@pytest.mark.parametrize("logprobs", [pytest.param(False, id="plain"), pytest.param(True, id="log-probs")])
def test_each_row_has_its_own_answer_and_all_that_was_said_of_it(job, server, called, stream, logprobs):
    request = {**({"stream": True} if stream else {}), **({"logprobs": True} if logprobs else {})}
    request |= {"seed": 7, "top_logprobs": 2} if server.api == "openai" and logprobs else {}
    path = chat(job, server, request=request)
    ended = run(called, server, path, "--json")
    assert (ended.returncode, server.violations, server.strays) == (1, [], [])
    rows = job.rows()
    wanted = [outcome(row, request) for row in ROWS]
    assert [{name: row[name] for name in want} for row, want in zip(rows, wanted, strict=True)] == wanted
    refused = [row["error"] for row in rows if row["status"] == "failed"]
    assert refused == 3 * [
        "refused: I can't help with that.",
        "refused: the service withholds the answer (finish_reason: content_filter)",
    ]
    assert max(server.asked.values()) == 1, "a refusal is not asked for again"
    cut = sum(want["finish_reason"] == "length" for want in wanted)
    assert (ended.json["cut_off"], ended.json["ok"], ended.json["failed"]) == (cut, 15, 6)
    used = [chat_server.usage(body_of(row, request)) for row in ROWS]  # refusals are billed, too
    assert ended.json["prompt_tokens"] == sum(one["prompt_tokens"] for one in used)
    assert ended.json["answer_tokens"] == sum(one["completion_tokens"] for one in used)
    assert ended.json["counted"] == len(used)
    again = run(called, server, path, "--no-retry-failed", "--json")
    assert (again.json["sent"], job.rows()) == (0, rows), "nothing is bought twice"


def test_what_is_sent_is_what_the_job_says(job, server, called):
    path = chat(job, server, ROWS[:1], request={"stream": True, "temperature": 0.5, "n": 2})
    assert run(called, server, path).returncode == 0
    sent = {"temperature": 0.5, "n": 2, "stream": True, "stream_options": {"include_usage": True}}
    assert server.bodies == [body_of(ROWS[0], sent)]


def test_several_answers_a_row(job, server, batchgen):
    rows = [row for row in ROWS if row["note"] in ("plain", "cut me")]
    request = {"n": 3, "logprobs": True}
    ended = run(batchgen, server, chat(job, server, rows, request=request))
    assert (ended.returncode, "than were requested" in ended.stderr) == (0, False)
    for row, found in zip(rows, job.rows(), strict=True):
        body = body_of(row, request)
        first, *later = chat_server.texts(body)
        assert (found["text"], found["completion_tokens"]) == (first, chat_server.usage(body)["completion_tokens"])
        assert found["more_choices"] == [
            {"text": text, "log_probs": chat_server.logprobs(text), "finish_reason": chat_server.reason(body)}
            for text in later
        ]


def test_choices_that_never_come_are_missed(job, server, called):
    """`transformers serve` 5.24.0 takes `n` and answers once."""
    server.script = lambda _, body: chat_server_raw(chat_server.answer({**body, "n": 1}))
    ended = run(called, server, chat(job, server, ROWS[:1], request={"n": 2}))
    assert ended.returncode == 0
    assert "request.n: no answer of the server had more than one choice" in ended.stderr


def test_a_stream_with_fewer_choices_than_were_asked_for_may_be_mixed(job, server, called):
    """LiteLLM's proxy 1.108.7 gives the pieces of all choices of a completion one index (findings/litellm_choices_in_one.sh)."""
    server.script = lambda _, body: chat_server_raw(chat_server.answer({**body, "n": 1}))
    ended = run(called, server, chat(job, server, ROWS[:1], request={"n": 2, "stream": True}))
    assert ended.returncode == 0
    assert "a gateway may have mixed several in one text: leave out stream, or n" in ended.stderr


def test_log_probs_that_are_declined_are_not_missed(job, server, called):
    ended = run(called, server, chat(job, server, ROWS[:1], request={"logprobs": False}))
    assert (ended.returncode, "logprobs" in ended.stderr) == (0, False)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("withheld", [0, 1], ids=["the first", "a later one"])
@pytest.mark.parametrize("words", [None, "I can't help with that."], ids=["by a filter", "by its words"])
def test_of_several_choices_one_is_withheld(job, server, called, monkeypatch, stream, withheld, words):  # noqa: PLR0917
    """The first one is the row's: where that has come, it was paid for."""
    usual = chat_server.choice

    def choice(body, index, text):
        one = usual(body, index, text)
        if index == withheld:
            one["message"] |= {"content": None, "refusal": words}
            one["finish_reason"] = "stop" if words else "content_filter"
        return one

    monkeypatch.setattr(chat_server, "choice", choice)
    path = chat(job, server, ROWS[:1], request={"n": 2, **({"stream": True} if stream else {})})
    run(called, server, path)
    (row,) = job.rows()
    assert row["status"] == ("ok" if withheld else "failed")
    if withheld:
        assert row["text"] == chat_server.texts(server.bodies[0])[0]
        reason = "stop" if words else "content_filter"
        assert [(one["text"], one["finish_reason"]) for one in row["more_choices"]] == [("", reason)]
        assert run(called, server, path, "--json").json["sent"] == 0


def test_an_answer_that_has_to_be_complete(job, server, called):
    """It fails at once; without the check, the same answer is a text, and not bought again."""
    rows = [row for row in ROWS if row["note"] in ("plain", "cut me")]
    path = chat(job, server, rows, check={"complete": True})
    ended = run(called, server, path, "--json")
    cut = [row for row in rows if row["note"] == "cut me"]
    assert (ended.returncode, ended.json["failed"], ended.json["sent"]) == (1, len(cut), len(rows))
    errors = [row["error"] for row in job.rows() if row["error"]]
    assert errors == [
        f"cut: cut off after {chat_server.usage(body_of(row, {}))['completion_tokens']} tokens" for row in cut
    ]
    path = chat(job, server, rows)
    ended = run(called, server, path, "--json")
    assert (ended.returncode, ended.json["ok"], ended.json["sent"]) == (0, len(rows), 0)
    path = chat(job, server, rows, check={"complete": True})
    ended = run(called, server, path, "--no-retry-failed", "--json")
    assert (ended.returncode, ended.json["failed"], ended.json["sent"]) == (1, len(cut), 0)


def test_an_answer_that_was_cut_is_not_said_to_have_the_tokens_of_all_choices(job, server, called):
    """The service counts them together: 300 tokens and 10 would be told as a cut after 310."""
    rows = [row for row in ROWS if row["note"] == "cut me"]
    ended = run(called, server, chat(job, server, rows, request={"n": 2}, check={"complete": True}))
    told = "cut: cut off at its longest"
    assert (ended.returncode, {row["error"] for row in job.rows()}) == (1, {told})
    assert told in ended.stdout


def test_texts_in_files_of_their_own(job, server, called):
    """An edited file is an edited prompt: what it made is sent anew."""
    folder = job.folder / "prompts"
    folder.mkdir()
    (folder / "task.j2").write_text("\ufeffWrite about {{ name }}.\n", encoding="utf-8")
    messages = [{"system": "Be brief."}, {"user": {"file": "prompts/task.j2"}}]
    path = chat(job, server, ROWS[:3], messages=messages)
    assert run(called, server, path).returncode == 0
    texts = {f"Write about {row['name']}." for row in ROWS[:3]}
    assert {body["messages"][1]["content"] for body in server.bodies} == texts, "in any order: eight may be in flight"
    (folder / "task.j2").write_text("Write of {{ name }}.")
    assert run(called, server, path, "--json").json["sent"] == 3
    (folder / "task.j2").write_text("Write of\n{{ nam }}.")
    ended = run(called, server, path)
    assert (ended.returncode, len(server.bodies)) == (2, 6)
    assert "prompts/task.j2: line 2 of the text: " in ended.stderr
    assert "name" in ended.stderr


def test_extra_fields_and_a_row_s_own(job, called):
    """`extra` is sent as it stands, and part of what a row's answer belongs to."""
    with ChatServer("openai") as server:
        rows = [{**row, "many": "2" if n else "", "sure": "true"} for n, row in enumerate(ROWS[:2])]
        extra = {"extra": {"chat_template_kwargs": {"enable_thinking": False, "prompt": ""}}}
        own = {"n": "many", "logprobs": "sure"}
        path = chat(job, server, rows, request=extra, columns=own)
        assert run(called, server, path).returncode == 0
        sent = {"logprobs": True, **extra["extra"]}
        bodies = sorted(server.bodies, key=lambda body: "n" in body)
        assert bodies == [body_of(rows[0], sent), body_of(rows[1], {**sent, "n": 2})]
        path = chat(job, server, rows, request={"extra": {"chat_template_kwargs": {}}}, columns=own)
        assert run(called, server, path, "--json").json["sent"] == 2


SCHEMA = {
    "type": "object",
    "title": "A review",
    "properties": {
        "sentiment": {"enum": ["good", "bad"]},
        "score": {"type": "integer"},
        "share": {"type": ["number", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "who": {"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}},
        "day": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "open": {},
    },
    "required": ["sentiment", "score"],
}
VALUES = [
    {
        "sentiment": "good",
        "score": 5,
        "share": 0.25,
        "tags": ["a", "ü"],
        "who": {"name": "Ö", "age": 3},
        "open": [1.50],
    },
    {"sentiment": "bad", "score": -(2**63), "share": None, "tags": [], "who": {}, "day": "2026-02-28"},
    {"score": 1.0, "sentiment": "good", "at": "2026-02-28T23:30:00.5+02:00", "open": None},
]


def test_answers_as_columns(job, server, batchgen):
    """JSON in a fence counts; the text stays as it came; what does not fit is asked for again, and null in the end."""
    said = [
        f"```json\n{json.dumps(VALUES[0], ensure_ascii=False)}\n```",
        json.dumps(VALUES[1]),
        f"\n {json.dumps(VALUES[2])} ",
    ]
    said.append(json.dumps({"sentiment": "good", "score": 2**63}))

    def script(_, body):
        text = said[int(body["messages"][1]["content"].split()[3].rstrip(":"))]
        whole = chat_server.answer(body)
        whole["choices"][0]["message"]["content"] = text
        return chat_server_raw(whole)

    server.script = script
    rows = [{**row, "note": "x"} for row in ROWS[:4]]
    path = chat(
        job,
        server,
        rows,
        request={"response_format": "json_schema"},
        check={"json_schema": SCHEMA},
        output={"columns": True},
    )
    assert run(batchgen, server, path).returncode == 1
    assert server.bodies[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "A_review", "schema": SCHEMA},
    }
    table = job.table()
    assert table["text"].to_pylist() == [*said[:3], said[3]]
    made = table.select(list(SCHEMA["properties"]))
    assert made.schema == pa.schema(
        [
            ("sentiment", pa.string()),
            ("score", pa.int64()),
            ("share", pa.float64()),
            ("tags", pa.list_(pa.field("element", pa.string()))),
            ("who", pa.struct([("name", pa.string()), ("age", pa.int64())])),
            ("day", pa.date32()),
            ("at", pa.timestamp("us", "UTC")),
            ("open", pa.string()),
        ]
    )
    assert [{k: str(v) if k in ("day", "at") and v else v for k, v in row.items()} for row in made.to_pylist()] == [
        {"sentiment": "good", "score": 5, "share": 0.25, "tags": ["a", "ü"], "who": {"name": "Ö", "age": 3}, "day": None, "at": None, "open": "[1.5]"},
        {"sentiment": "bad", "score": -(2**63), "share": None, "tags": [], "who": {"name": None, "age": None}, "day": "2026-02-28", "at": None, "open": None},
        {"sentiment": "good", "score": 1, "share": None, "tags": None, "who": None, "day": None, "at": "2026-02-28 21:30:00.500000+00:00", "open": None},
        dict.fromkeys(SCHEMA["properties"]),
    ]  # fmt: skip
    assert job.rows()[3]["error"].startswith("unfit: the text's JSON does not fit its columns: /score: ")


def chat_server_raw(whole):
    from support.service import Raw  # noqa: PLC0415

    return Raw(json.dumps(whole, ensure_ascii=False).encode())


REFUSALS = [
    pytest.param({"prompt": "x"}, "prompt: is given beside messages: give only one of them", id="a prompt, too"),
    pytest.param({"messages": [{"sytem": "x"}]}, "messages.0.sytem: unknown role; did you mean system?", id="a role that is none"),
    pytest.param({"messages": [{"system": "x", "user": "y"}]}, "messages.0: should have one key, its role", id="two roles in one"),
    pytest.param({"messages": []}, "messages: ", id="no messages"),
    pytest.param({"messages": [{"user": ""}]}, "messages.0.user: ", id="an empty message"),
    pytest.param({"messages": [{"user": {"file": "none.j2"}}]}, "none.j2: cannot be read", id="a file that is not there"),
    pytest.param({"messages": [{"user": {"text": "x"}}]}, "should be a text, or {file: PATH}", id="another mapping"),
    pytest.param({"messages": [{"user": "{{ nam }}"}]}, "messages: number 1 (user): line 1 of the text: ", id="a column that is none"),
    pytest.param({"request": {"random_seed": 1}}, "request.random_seed: the service that endpoint.api names has no such field; ", id="a seed"),
    pytest.param({"request": {"best_of": 2}}, "a chat's name for it is n", id="another's name for n"),
    pytest.param({"request": {"logprobs": 2}}, "request.logprobs: should be true or false in a chat", id="a number of log-probs"),
    pytest.param({"request": {"response_format": "json_schema"}}, "the job has none", id="a schema that is not there"),
    pytest.param({"output": {"columns": True}}, "output.columns: needs check.json_schema", id="columns without a schema"),
    pytest.param({"output": {"columns": ["scor"]}, "check": {"json_schema": SCHEMA}}, "did you mean score?", id="a property that is none"),
    pytest.param({"output": {"columns": True}, "check": {"json_schema": {"type": "array"}}}, "the schema's top is not an object", id="a list at the top"),
    pytest.param({"output": {"columns": {"score": "Name"}}, "check": {"json_schema": SCHEMA}}, "write `output: {columns: {score: answer_Name}}`", id="a column that the input has"),
    pytest.param({"output": {"columns": {"score": "text"}}, "check": {"json_schema": SCHEMA}}, "write `output: {columns: {score: answer_text}}`", id="a column that the results have"),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "said"), REFUSALS)
def test_what_cannot_be_meant_is_refused_before_anything_is_sent(job, called, sections, said):
    with ChatServer("writer") as server:
        path = chat(job, server, ROWS[:1], **{k: v for k, v in sections.items() if k != "prompt"})
        if "prompt" in sections:
            path.write_text(path.read_text() + "prompt: x\n")
        ended = run(called, server, path)
        assert (ended.returncode, server.requests, ended.stdout) == (2, 0, "")
        assert said in ended.stderr


EXTRAS = [
    pytest.param(
        {"max_tokens": 5}, "request.extra.max_tokens: is known: write `request: {max_tokens: ...}`", id="known"
    ),
    pytest.param({"messages": []}, "request.extra.messages: is made of the rows", id="the messages"),
]


@pytest.mark.parametrize(("extra", "said"), EXTRAS)
def test_a_field_that_is_known_is_no_extra(job, called, extra, said):
    with ChatServer("openai") as server:
        ended = run(called, server, chat(job, server, ROWS[:1], request={"extra": extra}))
        assert (ended.returncode, server.requests) == (2, 0)
        assert said in ended.stderr


def test_what_completions_lack_is_an_extra_field(job, called):
    """As the message says that refuses `request.response_format`: llama.cpp's completions take it."""
    extra = {"response_format": {"type": "json_object"}, "stream_options": {"include_usage": True}}
    endpoint = {"api": "openai", "url": "http://127.0.0.1:9"}
    path = job(ROWS[:1], request={"max_tokens": 50, "extra": extra}, endpoint=endpoint)
    ended = called("plan", path)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_an_input_that_has_such_columns_keeps_them(job, server, called):
    """As before there were these results: the job goes on, and says what it leaves out."""
    rows = [{**row, "reasoning": f"why {row['id']}", "Finish_Reason": "x"} for row in ROWS[:2]]
    path = chat(job, server, [{**row, "note": "think"} for row in rows])
    ended = run(called, server, path)
    assert ended.returncode == 0
    found = job.rows()
    assert [row["reasoning"] for row in found] == ["why 000", "why 001"]
    assert "finish_reason" not in found[0]
    assert found[0]["prompt_tokens"] == 1002
    assert "input: {rename: {reasoning: source_reasoning, Finish_Reason: source_Finish_Reason}}" in ended.stderr
