#!/bin/sh
# What three tools for batches take for answered when they are started again: flexllm 0.17.10 (`flexllm batch`, which resumes
# by its output file), async-batch-llm 0.28.0 (`SqliteArtifactStore`, without an identity of one's own, as it may be used
# since its 0.20), lm-deluge 0.0.168 (`SqliteCache`).
#
# Guess: an answer counts for the request that it was given to. flexllm compares each row's input with the file's, and
#        refuses a file whose prompts are others. async-batch-llm's words: "a changed prompt never silently replays a
#        stale result". lm-deluge hands out an answer for a prompt that it has seen.
# Seen:  flexllm compares the messages, and nothing else. With another model nothing is asked; it prints that model's
#        name, the answers are the first one's, the exit code is 0. So it is with the server, the temperature,
#        `--schema`, and `--max-tokens`, raised since answers were cut: they stay cut. Rows that got other ids keep the
#        old ids in the output, and rows that are no longer in the input stay there. With `--save-input last` the system
#        prompt does not count, either. For async-batch-llm the prompt is the row's: the system prompt ("English", then
#        "German") may change, and the server, the temperature, `max_tokens`, a schema and the parser, and the old
#        answers come as successes, cut ones, too. Only the model and the row's prompt count. In lm-deluge the messages
#        count, and not the model, nor `max_new_tokens`, nor an `output_schema`: what comes is the free text. And it has
#        the `id` of the row that asked first: of two rows in another order each has the other's.
# So:    flexllm: an output file for each model and setting, named by a hash of them. async-batch-llm: an `ArtifactIdentity`
#        whose versions say all that is sent. lm-deluge: a `cache_key` likewise, and rows by their place, not by `id`.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile flexllm==0.17.10 async-batch-llm==0.28.0 lm-deluge==0.0.168 \
    openai==3.57.0 2>/dev/null
cd "$folder"
HOME=$folder OWN_KEY=none venv/bin/python -W ignore - <<'PYTHON'
import asyncio
import json
import logging
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from async_batch_llm import OpenAIModel, OpenAIStrategy, ResumePolicy, SqliteArtifactStore, process_prompts
from lm_deluge import LLMClient, SamplingParams
from lm_deluge.cache import SqliteCache
from lm_deluge.models import register_model

asked = []  # the requests that came since the last start


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name = "first"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(request)
        said = [message["content"] for message in request["messages"]]
        said = [text if isinstance(text, str) else text[0]["text"] for text in said]
        cut = 5 in (request.get("max_tokens"), request.get("max_completion_tokens"))
        message = {"role": "assistant", "content": f"{self.name} {request['model']}: {' / '.join(said)}"}
        choice = {"index": 0, "message": message, "finish_reason": "length" if cut else "stop"}
        named = {"id": "1", "object": "chat.completion", "created": 1, "model": request["model"], "choices": [choice]}
        body = json.dumps(named | {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Second(Server):
    name = "second"


def serve(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


first, second = serve(Server), serve(Second)
SCHEMA = {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"], "additionalProperties": False}
ROWS = [{"id": "r1", "prompt": "one"}, {"id": "r2", "prompt": "two"}]


def flexllm(*settings, rows=ROWS, model="small", base=first, output="out.jsonl"):
    """The exit code, how often was asked, and what the output has of each row."""
    asked.clear()
    with open("in.jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    command = ["venv/bin/flexllm", "batch", "in.jsonl", "-o", output, "-m", model, "--base-url", base, "--api-key", "none"]
    ended = subprocess.run([*command, *settings], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    with open(output) as file:
        written = [json.loads(line) for line in file]
    found = [(row["metadata"]["id"], row["output"], row["result"]["finish_reason"]) for row in written]
    print(f"flexllm, {model}, {list(settings)}, {len(rows)} rows: exit {ended.returncode}, asked {len(asked)}, {found}")
    return ended.returncode, len(asked), found


whole = [("r1", "first small: one", "stop"), ("r2", "first small: two", "stop")]
cut = [(name, text, "length") for name, text, _ in whole]
print("flexllm", version("flexllm"))
assert flexllm() == (0, 2, whole)
edited = [row | {"prompt": row["prompt"] + "!"} for row in ROWS]
assert flexllm(rows=edited)[:2] == (2, 0), "other prompts are not refused any more"
assert flexllm(model="large") == (0, 0, whole), "the model counts now"
assert flexllm(base=second) == (0, 0, whole), "the server counts now"
assert flexllm("--temperature", "0.9", "--schema", json.dumps(SCHEMA)) == (0, 0, whole), "temperature or schema count now"
assert flexllm(rows=[row | {"id": "new " + row["id"]} for row in ROWS]) == (0, 0, whole), "ids are the new ones now"
assert flexllm(rows=ROWS[:1]) == (0, 0, whole), "rows that are gone leave the output now"
assert flexllm("--max-tokens", "5", output="cut.jsonl") == (0, 2, cut)
assert flexllm("--max-tokens", "500", output="cut.jsonl") == (0, 0, cut), "what was cut is asked again now"
last = ("--save-input", "last", "--system")
english = flexllm(*last, "English", output="last.jsonl")
assert english[2][0][1] == "first small: English / one"
assert flexllm(*last, "German", output="last.jsonl") == (0, 0, english[2]), "the system prompt counts now"


async def async_batch_llm(prompts, system=None, base=first, model="small", **settings):
    """How often was asked, and what came out."""
    asked.clear()
    own = {"base_url": base, "api_surface": "chat_completions", "system_instruction": system}
    asks = OpenAIModel.from_api_key(model, "none", **own)
    batch = await process_prompts(
        OpenAIStrategy(asks, **settings),
        prompts,
        artifact_store=SqliteArtifactStore("kept.sqlite"),
        resume=ResumePolicy.REUSE_SUCCESSES,
        preserve_order=True,
    )
    found = [(row.item_id, row.success, row.output, row.metadata["finish_reason"]) for row in batch.results]
    print(f"async-batch-llm, {model}, system {system}, {sorted(settings)}: asked {len(asked)}, {found}")
    return len(asked), found


async def of_async_batch_llm():
    rows, row = [("r1", "one"), ("r2", "two")], [("r3", "three")]
    kept = [(name, True, f"first small: English / {text}", "stop") for name, text in rows]
    assert await async_batch_llm(rows, "English") == (2, kept)
    assert await async_batch_llm(rows, "German") == (0, kept), "the system prompt counts now"
    assert await async_batch_llm(rows, "English", base=second) == (0, kept), "the server counts now"
    form = {"type": "json_schema", "json_schema": {"name": "word", "schema": SCHEMA}}
    more = {"temperature": 1.0, "generation_config": {"response_format": form, "max_tokens": 500}}
    assert await async_batch_llm(rows, "English", **more) == (0, kept), "temperature, schema or max_tokens count now"
    parser = {"response_parser": lambda answer: {"parsed": answer.text}}
    assert await async_batch_llm(rows, "English", **parser) == (0, kept), "the parser counts now"
    assert (await async_batch_llm(rows, "English", model="large"))[0] == 2, "the model counts no more"
    assert (await async_batch_llm([("r1", "one!")], "English"))[0] == 1, "the row's prompt counts no more"
    half = (1, [("r3", True, "first small: three", "length")])
    assert await async_batch_llm(row, generation_config={"max_tokens": 5}) == half
    assert await async_batch_llm(row, generation_config={"max_tokens": 500}) == (0, half[1]), "what was cut is asked again now"


logging.disable(logging.CRITICAL)
print("async-batch-llm", version("async-batch-llm"))
asyncio.run(of_async_batch_llm())


def lm_deluge(prompts, model="small", sampling=None, **settings):
    """How often was asked, and what came out."""
    asked.clear()
    client = LLMClient(model, sampling_params=[SamplingParams(**(sampling or {}))], cache=SqliteCache("kept.db"))
    answers = client.process_prompts_sync(prompts, show_progress=False, **settings)
    found = [(answer.id, answer.completion, answer.is_error) for answer in answers]
    print(f"lm-deluge, {model}, {sampling}, {sorted(settings)}, {prompts}: asked {len(asked)}, {found}")
    return len(asked), found


print("lm-deluge", version("lm-deluge"))
for name in ("small", "large"):
    register_model(id=name, name=name, api_base=first, api_key_env_var="OWN_KEY", supports_json=True)
kept = [(0, "first small: one", False), (1, "first small: two", False)]
assert lm_deluge(["one", "two"]) == (2, kept)
assert lm_deluge(["one", "two"], model="large") == (0, kept), "the model counts now"
assert lm_deluge(["one", "two"], sampling={"temperature": 0.0, "max_new_tokens": 5}) == (0, kept), "sampling counts now"
assert lm_deluge(["one", "two"], output_schema=SCHEMA) == (0, kept), "the schema counts now"
assert lm_deluge(["two", "one"]) == (0, kept[::-1]), "ids are those of the rows now"
assert lm_deluge(["three"], output_schema=SCHEMA)[0] == 1 and "response_format" in asked[0], "no schema is sent any more"
PYTHON
