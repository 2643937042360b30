#!/bin/sh
# Streams that end early, and errors within them, in Writer's own client, writer-sdk 3.0.0, beside openai 3.57.0.
#
# Guess: a stream that ends before [DONE] is an exception, and so is an event that holds an error, which is how servers and
#        gateways tell of one once they have said 200. What `chat.stream()` puts together is a whole answer.
# Seen:  neither is. Where the body ends well after half of the events, as behind a proxy that has lost its server, the loop
#        ends, and `get_final_completion()` gives half a text with finish_reason None. A piece of a completion has no
#        field but its text, and [DONE] is not handed out: half a completion and a whole one are the same. An error
#        that comes as `data: {"error": ...}` is a piece like the others: of a completion with the value None, of a chat
#        with `choices` None, and `chat.stream()` fails on it with a TypeError that does not tell. Only after a line
#        `event: error` is it an exception. openai raises APIError with the server's words for both; where the body just
#        ends it says nothing, either.
# So:    count a chat for whole when its last piece has a finish_reason that is `stop` or `length`; ask for completions
#        whole, without `stream`; and look for `error` in each piece's `model_extra`.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet writer-sdk==3.0.0 openai==3.57.0 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import openai
import writerai

ERROR = b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'
DONE = b"data: [DONE]\n\n"
ENDS = {"ends": b"", "error": ERROR + DONE, "event: error": b"event: error\n" + ERROR + DONE}


class Server(BaseHTTPRequestHandler):
    """Streams the first half of a text, then what the model's name says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        make = self.chat if "messages" in request else self.completion
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in (make("Do "), make("not"), self.end(request["model"], make)):
            if event:
                self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def end(self, model, make):
        return make(" use.", "stop") + DONE if model == "whole" else ENDS[model]

    def chat(self, text, reason=None):
        choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": reason}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "palmyra-x5", "choices": [choice]}
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    def completion(self, text, _=None):
        return b"data: " + json.dumps({"value": text}).encode() + b"\n\n"

    def log_message(self, *_):
        pass


class Quiet(ThreadingHTTPServer):
    def handle_error(self, *_):  # clients that have gone
        pass


server = Quiet(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_address[1]}"
writer, other = writerai.Writer(base_url=address, api_key="none"), openai.OpenAI(base_url=address, api_key="none")
ASKED = [{"role": "user", "content": "Warn me."}]


def completion(model):
    pieces = list(writer.completions.create(model=model, prompt="Warn me.", stream=True))
    return [piece.value for piece in pieces], [piece.model_extra for piece in pieces if piece.model_extra]


def chat(model):
    pieces = list(writer.chat.chat(model=model, messages=ASKED, stream=True))
    texts = [piece.choices and piece.choices[0].delta.content for piece in pieces]
    return texts, [piece.choices and piece.choices[0].finish_reason for piece in pieces][-1]


def final(model):
    with writer.chat.stream(model=model, messages=ASKED) as stream:
        choice = stream.get_final_completion().choices[0]
    return choice.message.content, choice.finish_reason


def by_openai(model):
    pieces = list(other.chat.completions.create(model=model, messages=ASKED, stream=True))
    return [piece.choices[0].delta.content for piece in pieces], pieces[-1].choices[0].finish_reason


def told(way, model):
    try:
        return way(model)
    except Exception as error:
        return type(error).__name__, str(error)


print("writer-sdk", version("writer-sdk"), "openai", version("openai"))
found = {}
for model in ("whole", *ENDS):
    print(f"the server: {model}")
    for way in (completion, chat, final, by_openai):
        found[model, way] = told(way, model)
        print(f"    {way.__name__}:", *found[model, way])
HALF = ["Do ", "not"]
error = {"error": {"message": "out of memory", "code": 500}}
assert found["whole", completion] == ([*HALF, " use."], []) and found["whole", final] == ("Do not use.", "stop")
assert found["ends", completion] == (HALF, []), "the end of a completion is told now"
assert found["ends", chat] == (HALF, None), "a stream that just ends is an error now"
assert found["ends", final] == ("Do not", None), "half a chat is refused now"
assert found["error", completion] == ([*HALF, None], [error]), "an error is an exception now"
assert found["error", chat] == ([*HALF, None], None), "an error is an exception now"
assert found["error", final][0] == "TypeError" and "memory" not in found["error", final][1], "the error is told now"
assert found["ends", by_openai] == (HALF, None), "openai tells of the end now"
assert all(found["event: error", way][0] == "APIStatusError" for way in (completion, chat, final))
for model in ("error", "event: error"):
    assert found[model, by_openai] == ("APIError", "out of memory"), "openai tells it otherwise now"
PYTHON
