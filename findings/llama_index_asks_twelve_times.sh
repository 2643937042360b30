#!/bin/sh
# One row that fails, or takes too long, in LlamaIndex (llama-index-llms-openai 0.8.3, llama-index-llms-openai-like 0.8.1,
# llama-index-core 0.14.25), as it is by default, and how many requests the server gets.
#
# Guess: four, since `max_retries` is 3: "How many times to retry the API call if it fails". It was set right in June 2024,
#        after an issue that one got more than one asked for (13826, closed).
# Seen:  twelve. OpenAI's client is given the 3, and makes four requests of one; a decorator around it makes three calls
#        of it, and has its number from the same 3. So it is with a connection that ends before the answer, with 429 and
#        500, and with an answer that takes longer than `timeout`: each may be billed. With `max_retries=2` it is six,
#        with 1 it is two. A minute after the first request the decorator ends: with the 60 seconds that `timeout` is by
#        default, an answer that takes longer is asked for four times, and never had. `complete`, `chat` and their async
#        kin alike.
# So:    `max_retries=0`, and ask again oneself, which counts; and a `timeout` as long as the longest answer takes. It is
#        known: pull request 21559 of llama_index, open since May 2026.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet llama-index-llms-openai==0.8.3 llama-index-llms-openai-like==0.8.1 \
  llama-index-core==0.14.25 2>/dev/null
cd "$folder"
HOME="$folder" venv/bin/python - <<'PYTHON' 2>messages.log
import asyncio
import json
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike

asked = Counter()  # requests for each row


class Server(BaseHTTPRequestHandler):
    """Does to a row what its prompt says behind the colon."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        row = request["messages"][-1]["content"]
        asked[row] += 1
        what = row.split(": ")[1]
        if what == "slow":
            time.sleep(20)
        if not what.isdigit():
            self.close_connection = True
            return
        body = json.dumps({"error": {"message": "no", "type": "no", "code": "no"}}).encode()
        self.send_response(int(what))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):  # clients that have gone
        pass


def like(**settings):
    return OpenAILike(model="m", api_base=address, api_key="none", is_chat_model=True, **settings)


def chat(row, **settings):
    like(**settings).chat([ChatMessage(role="user", content=row)])


def complete(row, **settings):
    like(**settings).complete(row)


def acomplete(row, **settings):
    asyncio.run(like(**settings).acomplete(row))


def openai(row, **settings):
    OpenAI(model="gpt-4o", api_base=address, api_key="none", **settings).complete(row)


def send(way, row, settings):
    try:
        way(row, **settings)
        ended[row] = "an answer"
    except Exception as error:
        ended[row] = type(error).__name__


server = Quiet(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_address[1]}/v1"
ROWS = {  # a row, and how it is sent
    "complete: closed": (complete, {}, 12),
    "complete: 429": (complete, {}, 12),
    "complete: 500": (complete, {}, 12),
    "complete, timeout 1: slow": (complete, {"timeout": 1.0}, 12),
    "complete, timeout 16: slow": (complete, {"timeout": 16.0}, 4),
    "chat: 500": (chat, {}, 12),
    "acomplete: 500": (acomplete, {}, 12),
    "OpenAI: 500": (openai, {}, 12),
    "max_retries 2: 500": (complete, {"max_retries": 2}, 6),
    "max_retries 1: 500": (complete, {"max_retries": 1}, 2),
    "max_retries 0: 500": (complete, {"max_retries": 0}, 1),
}
ended = {}
threads = [threading.Thread(target=send, args=(way, row, settings)) for row, (way, settings, _) in ROWS.items()]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
names = ("llama-index-llms-openai", "llama-index-llms-openai-like", "llama-index-core", "openai")
print(*[f"{name} {version(name)}" for name in names])
print("by default: max_retries", like().max_retries, "timeout", like().timeout)
for row in ROWS:
    print(f"{row}: {asked[row]} requests, then {ended[row]}")
assert (like().max_retries, like().timeout) == (3, 60)
assert {row: asked[row] for row in ROWS} == {row: times for row, (*_, times) in ROWS.items()}, "it asks otherwise now"
assert "an answer" not in ended.values()
PYTHON
