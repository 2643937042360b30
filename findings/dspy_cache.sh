#!/bin/sh
# What DSPy 3.4.1 keeps as an answer, and for whom (`dspy.LM` as it is by default, with its cache on disk).
#
# Guess: the cache has whole answers, each for the same request to the same server. What is broken off, or empty, is asked
#        anew the next time: an error inside a 200 is, after four requests.
# Seen:  everything else that comes with 200 is an answer, and is kept on disk for all later programs: half a text whose
#        finish_reason is `abort`, as vLLM 0.32.0 says when it is stopped, or that says none; a content that is null, or
#        filtered; even an answer without a choice, which is handed out as an empty text. Only `length` brings a warning,
#        and is kept as well. The server's address does not count: with another `api_base` and the same model name
#        nothing is asked, and the first server's answers come. Where one tests on a small model under the large one's
#        name, as vLLM's `--served-model-name` allows, the large one is never asked.
# So:    `dspy.LM(..., cache=False)`, or a DSPY_CACHEDIR for each server; after an outage empty the cache, and look for short
#        and empty texts. That the address does not count is known: pull request 10006 of dspy, closed without a merge in
#        July 2026.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'dspy==3.4.1' 2>/dev/null
cd "$folder"
cat > ask.py <<'PYTHON'
"""Asks a server by DSPy, as a program of its own, and prints what came."""
import json
import sys

import dspy

said = {}
for prompt in sys.argv[2:]:
    try:
        said[prompt] = dspy.LM("openai/m", api_base=sys.argv[1], api_key="none", model_type="chat")(prompt)
    except Exception as error:
        said[prompt] = type(error).__name__
print(json.dumps(said))
PYTHON
venv/bin/python - <<'PYTHON'
import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

ENDS = {  # by prompt: the content, and why it ended
    "whole": ("A whole text.", "stop"),
    "stopped server": ("A whole te", "abort"),
    "no reason": ("A whole te", None),
    "cut": ("A whole te", "length"),
    "null": (None, "stop"),
    "filtered": (None, "content_filter"),
}


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = request["messages"][-1]["content"]
        self.server.asked.append(prompt)
        said = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
        if prompt in ENDS:
            content, reason = ENDS[prompt]
            message = {"role": "assistant", "content": content}
            said["choices"] = [{"index": 0, "message": message, "finish_reason": reason}]
        elif prompt == "error":
            said = {"error": {"message": "overloaded", "code": 503}}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def run(server, *prompts):
    """What a program that asks the server for these gets, how often each was asked for, and its warnings of cut texts."""
    server.asked.clear()
    home = str(Path.cwd())
    environment = {"PATH": os.environ["PATH"], "HOME": home, "DSPY_CACHEDIR": f"{home}/cache"}
    environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks another host for the prices of models
    command = ["venv/bin/python", "ask.py", f"http://127.0.0.1:{server.server_address[1]}/v1", *prompts]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    asked = [server.asked.count(prompt) for prompt in prompts]
    return json.loads(done.stdout.splitlines()[-1]), asked, done.stderr.count("was truncated")


first, second = serve(), serve()
prompts = [*ENDS, "no choice", "error"]
texts, asked, warned = run(first, *prompts)
later, asked_later, _ = run(first, *prompts)
others, asked_other, _ = run(second, *prompts)
print("dspy", version("dspy"))
for prompt, *times in zip(prompts, asked, asked_later, asked_other):
    print(f"{prompt}: {texts[prompt]}; asked {times[0]}, in the next program {times[1]}, with another server {times[2]}")
print("warnings of cut texts:", warned)
expected = {prompt: [content or ""] for prompt, (content, _) in ENDS.items()} | {"no choice": [""]}
assert {prompt: texts[prompt] for prompt in expected} == expected and later == others == texts, "other texts are taken now"
assert asked == [*[1] * len(expected), 4], "it asks otherwise now"
assert asked_later == [*[0] * len(expected), 4], "such answers are not kept any more"
assert asked_other == [*[0] * len(expected), 4], "the server's address counts now"
assert warned == 1, "other ends than `length` are warned of now"
PYTHON
