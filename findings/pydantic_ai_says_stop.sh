#!/bin/sh
# Half a text, and what pydantic-ai 2.68.0 and mirascope 2.8.2 say of why it ended.
#
# Guess: an answer that says no reason has none, and half an answer does not look like a whole one. pydantic-ai has a
#        `finish_reason` and a `state`, whose "complete" is "fully received from the model"; mirascope's words are that
#        a finish reason is only set "if the response did not finish generating normally".
# Seen:  pydantic-ai makes `stop` of no reason at all. A stream whose connection ends well after half of its events, as
#        behind a proxy that has lost its server, with [DONE] or without, is `finish_reason` stop, `state` complete and
#        `is_complete`; a whole answer without a reason is stop, too. `abort`, as vLLM 0.32.0 says when it is stopped,
#        is None: so None is an answer with an odd reason, and stop may be half of one. In mirascope None is the good
#        end, and all of these are None: `abort`, no reason, and the stream that just ends. Both name `length`. No
#        error, no warning, and no second request.
# So:    in pydantic-ai read `provider_details`, which has a `finish_reason` only where the server gave one, and let
#        streams raise by the profile's `openai_chat_streaming_requires_finish_reason`: it is off, since some servers
#        never give a reason (issue 6610 of pydantic-ai, closed with that setting). In mirascope do not stream, and read
#        `response.raw`.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for package in 'pydantic-ai-slim[openai]==2.68.0 openai==3.57.0' 'mirascope[openai]==2.8.2 openai==2.54.0'; do
    python3 -m venv "${package%%[*}"
    # shellcheck disable=SC2086  # two packages are two words
    "${package%%[*}/bin/python" -m pip install --quiet $package 2>/dev/null
done
cat > pydantic_ai_says.py <<'PYTHON'
"""Asks a server by pydantic-ai for each way in which an answer may end, and prints the text and why it ended."""
import asyncio
import json
import sys

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.profiles.openai import OpenAIModelProfile
from pydantic_ai.providers.openai import OpenAIProvider


async def ask(name, streamed, **profile):
    provider = OpenAIProvider(base_url=sys.argv[1], api_key="none")
    agent = Agent(OpenAIChatModel(name, provider=provider, profile=OpenAIModelProfile(**profile)))
    if not streamed:
        run = await agent.run("Hi")
        said = run.all_messages()[-1]
        return run.output, said.finish_reason, said.state, said.provider_details.get("finish_reason")
    async with agent.run_stream("Hi") as run:
        text = await run.get_output()
        said = run.all_messages()[-1]
        assert run.is_complete
        return text, said.finish_reason, said.state, said.provider_details.get("finish_reason")


async def main():
    said = {f"{way} {name}": await ask(name, way == "stream") for way, name in map(str.split, sys.argv[2:])}
    try:
        said["strict"] = await ask("ends", True, openai_chat_streaming_requires_finish_reason=True)
    except Exception as error:
        said["strict"] = f"{type(error).__name__}: {error}"
    print(json.dumps(said))


asyncio.run(main())
PYTHON
cat > mirascope_says.py <<'PYTHON'
"""Does by mirascope what the other does by pydantic-ai."""
import json
import sys

from mirascope import llm

llm.register_provider("openai:completions", scope="own/", base_url=sys.argv[1], api_key="none")
said = {}
for way, name in map(str.split, sys.argv[2:]):
    model = llm.Model(f"own/{name}")
    if way == "whole":
        response = model.call("Hi")
        text, raw = response.text(), response.raw.choices[0].finish_reason
    else:
        response = model.stream("Hi")
        text, raw = "".join(response.text_stream()).strip(), None
    said[f"{way} {name}"] = text, response.finish_reason, raw
print(json.dumps(said))
PYTHON
pydantic-ai-slim/bin/python - <<'PYTHON'
import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REASONS = {"all": "stop", "cut": "length", "abort": "abort", "none": None, "ends": None, "done": None}  # by model


class Server(BaseHTTPRequestHandler):
    """Its model `all` gives a whole text, the others half of it; streams of `ends` and `done` just end then."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(request["model"])
        name, base = request["model"].split("/")[-1], {"id": "1", "created": 1, "model": request["model"]}
        text = "Do not use." if name == "all" else "Do"
        if not request.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": REASONS[name]}
            usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
            said = {**base, "object": "chat.completion", "choices": [choice], "usage": usage}
            return self.say("application/json", json.dumps(said).encode())
        pieces = [{"role": "assistant", "content": text}, {}][: 1 if name in ("ends", "done") else 2]
        choices = [{"index": 0, "delta": piece, "finish_reason": None} for piece in pieces]
        choices[-1]["finish_reason"] = REASONS[name]
        events = [json.dumps({**base, "object": "chat.completion.chunk", "choices": [one]}) for one in choices]
        events += [] if name == "ends" else ["[DONE]"]
        return self.say("text/event-stream", b"".join(b"data: %s\n\n" % event.encode() for event in events))

    def say(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def run(package, script):
    command = [f"{package}/bin/python", script, f"http://127.0.0.1:{server.server_address[1]}/v1", *ways]
    environment = {"PATH": os.environ["PATH"], "HOME": os.getcwd(), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-1000:]
    print(package)
    said = json.loads(done.stdout)
    for name, told in said.items():
        print(f"    {name}: {told}")
    return said


asked = []
server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
ways = [f"whole {name}" for name in REASONS if name not in ("ends", "done")] + [f"stream {name}" for name in REASONS]
told = run("pydantic-ai-slim", "pydantic_ai_says.py")
assert told.pop("strict") == "ModelAPIError: Streamed response ended without a `finish_reason`"
for way, (text, reason, state, raw) in told.items():
    name = way.split()[1]
    assert text == ("Do not use." if name == "all" else "Do") and state == "complete" and raw == REASONS[name]
    assert reason == {"cut": "length", "abort": None}.get(name, "stop"), f"{way} is {reason} now"
for way, (text, reason, raw) in run("mirascope", "mirascope_says.py").items():
    name = way.split()[1]
    assert text == ("Do not use." if name == "all" else "Do")
    assert reason == ("max_tokens" if name == "cut" else None), f"{way} is {reason} now"
    assert way.startswith("stream") or raw == REASONS[name]
assert len(asked) == 2 * len(ways) + 1, "it asks otherwise now"
PYTHON
