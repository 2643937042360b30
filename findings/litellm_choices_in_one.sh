#!/bin/sh
# A streamed completion of two choices (`n: 2`), and of two prompts, that passes through litellm 1.108.7.
#
# Guess: each piece keeps the index of its choice, as OpenAI's API has it: a client puts the answers together by it. In
#        chats litellm does so.
# Seen:  in completions every piece has the index 0, and there is one finish_reason, that of whoever ended first. Pieces of
#        two answers come in turn, as the server makes them, so a client that goes by the index has one answer, in which
#        the words of both alternate, and which says that it is whole. Two prompts in one request likewise: the answers to
#        both are one text. Nothing that is left in the stream tells which piece belongs where.
# So:    with `n`, or several prompts, ask for a whole completion, which keeps them apart, or for one each. An answer
#        that has fewer choices than were asked for is none.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'litellm==1.108.7' 2>/dev/null
LITELLM_LOCAL_MODEL_COST_MAP=True "$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import litellm

ANSWERS = [["One ", "red ", "bird."], ["Two ", "old ", "dogs."]]
sent = []  # what each request had


class Upstream(BaseHTTPRequestHandler):
    """Answers two choices at a time, as servers do that make them at once."""

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        sent.append((request.get("n"), request.get("prompt")))
        is_chat = "chat" in self.path
        self.send_response(200)
        if not request.get("stream"):
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            choices = [
                {"index": at, "text": "".join(words), "finish_reason": "stop", "logprobs": None}
                for at, words in enumerate(ANSWERS)
            ]
            usage = {"prompt_tokens": 1, "completion_tokens": 6, "total_tokens": 7}
            answer = {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
            self.wfile.write(json.dumps(answer).encode())
            return
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for step in range(3):
            for at, words in enumerate(ANSWERS):
                said = {"delta": {"content": words[step]}} if is_chat else {"text": words[step]}
                self.event(is_chat, {"index": at, **said, "finish_reason": None})
        for at in range(2):
            self.event(is_chat, {"index": at, **({"delta": {}} if is_chat else {"text": ""}), "finish_reason": "stop"})
        self.wfile.write(b"data: [DONE]\n\n")

    def event(self, is_chat, choice):
        kind = "chat.completion.chunk" if is_chat else "text_completion"
        event = {"id": "1", "object": kind, "created": 1, "model": "m", "choices": [choice]}
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")

    def log_message(self, *_):
        pass


def texts(pieces):
    """The text of each choice, put together by its index."""
    found = {}
    for index, text in pieces:
        found[index] = found.get(index, "") + (text or "")
    return found


server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=server.serve_forever, daemon=True).start()
served = {"model": "openai/m", "api_base": f"http://127.0.0.1:{server.server_address[1]}/v1", "api_key": "none", "max_retries": 0}
completion = {**served, "model": "text-completion-openai/m"}
told = {}
for name, fields in (("n: 2", {"prompt": "Hi", "n": 2}), ("two prompts", {"prompt": ["Hi", "Ho"]})):
    chunks = list(litellm.text_completion(**completion, **fields, stream=True))
    told[name] = texts((one.index, one.text) for chunk in chunks for one in chunk.choices)
    told[f"{name}, ends"] = [one.finish_reason for chunk in chunks for one in chunk.choices if one.finish_reason]
whole = litellm.text_completion(**completion, prompt="Hi", n=2)
told["n: 2, whole"] = texts((one.index, one.text) for one in whole.choices)
chat = litellm.completion(**served, messages=[{"role": "user", "content": "Hi"}], n=2, stream=True)
told["n: 2, chat"] = texts((one.index, one.delta.content) for chunk in chat for one in chunk.choices)
print("litellm", version("litellm"), "the server was asked", sent)
for name, what in told.items():
    print(f"{name}: {what}")
apart, mixed = {0: "One red bird.", 1: "Two old dogs."}, {0: "One Two red old bird.dogs."}
assert [n for n, _ in sent] == [2, None, 2, 2] and sent[1][1] == ["Hi", "Ho"]
assert told["n: 2, whole"] == told["n: 2, chat"] == apart
assert told["n: 2"] == told["two prompts"] == mixed, "the choices are told apart now"
assert told["n: 2, ends"] == told["two prompts, ends"] == ["stop"], "each choice says its end now"
PYTHON
