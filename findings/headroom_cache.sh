#!/bin/sh
# What Headroom 0.42.0 (`headroom proxy`, as it is by default) does to chats on their way to a server like vLLM.
#
# Guess: it makes prompts shorter, which is what it is for, and hands on the rest. What it gets twice it asks twice: the
#        cache that its README speaks of is the provider's; of one of its own a line of `--help` has a word, "Disable
#        semantic caching". Failures come back once, and `max_tokens` is `max_tokens`.
# Seen:  whole chats that were answered are kept for an hour, and who sends the same again gets the old answer: five
#        samples of one prompt at temperature 1 are one answer five times, each with its `usage`, as if it had been made.
#        OpenAI's fields are compared, vLLM's own are not: a request with `structured_outputs` gets the free text that
#        one without it got. So it is with `chat_template_kwargs` (thinking or not), `min_p`, `top_k`,
#        `repetition_penalty`, `min_tokens`, `stop_token_ids` and `bad_words`. Half a text of a vLLM that was
#        stopped (`abort`) is kept as well, so whoever asks again has the same half each time. All this is a 200,
#        and no header tells, but that the headers x-headroom-... are missing. `max_tokens` arrives as
#        `max_completion_tokens`, so a server that has the old name alone has no limit. 429, 5xx, and a connection that
#        breaks after the request was taken, are asked three times before the client hears of one. A whole answer is
#        generated to its end after its client has gone. Beyond 60 requests a minute it refuses by 429 of its own, whose
#        `Retry-After` stands in its words alone. Streams and completions are not kept.
# So:    start it with `--no-cache --retry-max-attempts 1 --no-rate-limit`: then it keeps none, asks once and refuses none
#        (tried). Or stream, or give each sample a seed of its own. Until lately another server's answer came, too, since
#        the address was not compared (issue 3346 of headroom).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile 'headroom-ai[proxy]==0.42.0' 2>/dev/null
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

folder = sys.argv[1]
LONG = 40  # tenths of a second that `slow` takes
OWN = {
    "structured_outputs": {"regex": "yes|no"},
    "chat_template_kwargs": {"enable_thinking": False},
    "min_p": 0.2,
    "top_k": 3,
    "repetition_penalty": 1.1,
    "min_tokens": 3,
    "stop_token_ids": [3],
    "bad_words": ["no"],
}
OPENAIS = {
    "temperature": 0.5,
    "top_p": 0.5,
    "seed": 3,
    "stop": ["#"],
    "max_tokens": 5,
    "n": 2,
    "logprobs": True,
    "response_format": {"type": "json_object"},
}
asked = []  # each request that came in full
made = []  # tenths that `slow` worked before its connection was gone


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(request)
        prompt = request["messages"][0]["content"] if "messages" in request else request["prompt"]
        if prompt.isdigit():
            self.whole(int(prompt), {"error": {"message": "no", "type": "no", "code": "no"}})
        elif prompt == "breaks":
            self.close_connection = True
        elif prompt == "slow" and not self.work():
            return
        else:
            self.answer(request, f"answer {len(asked)}", "abort" if prompt == "abort" else "stop")

    def answer(self, request, text, reason):
        part, kind = ("delta", "chat.completion.chunk") if request.get("stream") else ("message", "chat.completion")
        said = {part: {"role": "assistant", "content": text}} if "messages" in request else {"text": text}
        choices = [{"index": at, **said, "finish_reason": reason} for at in range(request.get("n") or 1)]
        count = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        whole = {"id": "1", "object": kind, "created": 1, "model": "m", "choices": choices, "usage": count}
        if not request.get("stream"):
            self.whole(200, whole)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(b"data: " + json.dumps(whole).encode() + b"\n\ndata: [DONE]\n\n")

    def work(self):
        for tenth in range(LONG):
            time.sleep(0.1)
            if select.select([self.connection], [], [], 0)[0]:
                made.append(tenth)
                return False
        made.append(LONG)
        return True

    def whole(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def send(prompt, completion=False, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    said = {"prompt": prompt} if completion else {"messages": [{"role": "user", "content": prompt}]}
    path = "/v1/completions" if completion else "/v1/chat/completions"
    body = json.dumps({"model": "m", **said, **fields})
    connection.request("POST", path, body, {"Content-Type": "application/json", "Authorization": "Bearer none"})
    return connection


def ask(prompt, **fields):
    """The answer, its body, and how often the server was asked for it."""
    before = len(asked)
    answer = send(prompt, **fields).getresponse()
    body = answer.read().decode()
    return answer, body, len(asked) - before


def text(body):
    (choice,) = json.loads(body)["choices"]
    return choice["message"]["content"]


def headers(answer):
    return [name for name in answer.headers if name.lower().startswith("x-headroom")]


def left():
    """Tenths of a second that the server worked for a client that left after ten."""
    connection = send("slow")
    time.sleep(1)
    connection.close()
    while not made:
        time.sleep(0.1)
    return made[0]


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
environment = {
    "PATH": os.environ["PATH"],
    "HOME": folder,
    "OPENAI_TARGET_API_URL": f"http://127.0.0.1:{server.server_address[1]}/v1",
    "HEADROOM_TELEMETRY": "off",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
command = [f"{folder}/venv/bin/headroom", "proxy", "--port", str(port)]
QUIET = subprocess.DEVNULL
with subprocess.Popen(command, env=environment, stdout=QUIET, stderr=QUIET, cwd=folder) as proxy:
    try:
        for _ in range(4000):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert proxy.poll() is None, "Headroom did not start"
                time.sleep(0.1)
        samples = [ask("Throw a die", temperature=1) for _ in range(5)]
        free_text = ask("Is it so?")
        own = {name: ask("Is it so?", **{name: value}) for name, value in OWN.items()}
        openais = {name: ask("Is it so?", **{name: value}) for name, value in OPENAIS.items()}
        halves = [ask("abort") for _ in range(3)]
        limit = ask("limit", max_tokens=5)[2], asked[-1]
        streams = [ask("stream", stream=True)[2] for _ in range(2)]
        completions = [ask("completion", completion=True)[2] for _ in range(2)]
        failures = {prompt: ask(prompt) for prompt in ("400", "429", "500", "503", "breaks")}
        gone = left()
        many = [ask(f"many {at}")[0] for at in range(150)]
    finally:
        proxy.terminate()
refused = next(answer for answer in many if answer.status == 429)
failed = {prompt: (answer.status, times) for prompt, (answer, _, times) in failures.items()}
print("headroom-ai", version("headroom-ai"))
for answer, body, times in samples:
    print(f"one of five samples: {text(body)!r}, asked {times} times, {json.loads(body)['usage']}, {headers(answer)}")
print("without a field of vLLM's:", text(free_text[1]))
for name, (_, body, times) in own.items():
    print(f"with {name}: {text(body)!r}, asked {times} times")
print("OpenAI's fields, and how often the server was asked:", {name: times for name, (*_, times) in openais.items()})
for _, body, times in halves:
    print(f"abort: {text(body)!r}, {json.loads(body)['choices'][0]['finish_reason']}, asked {times} times")
print("max_tokens arrives as", [name for name in limit[1] if name.startswith("max_")])
print("the same stream twice:", streams, "- the same completion twice:", completions)
print("failures, and how often the server was asked:", failed)
print(f"a client that left after 1 s: whole answer worked on for {gone / 10} s of {LONG / 10}")
print("of 150 within some seconds:", sum(answer.status == 429 for answer in many), "are 429, Retry-After", refused.headers["Retry-After"])
assert [times for *_, times in samples] == [1, 0, 0, 0, 0], "each sample is asked for now"
assert len({body for _, body, _ in samples}) == 1 and headers(samples[0][0]) and not headers(samples[1][0]), "it tells now"
assert {(body, times) for _, body, times in own.values()} == {(free_text[1], 0)}, "vLLM's fields are compared now"
assert {times for *_, times in openais.values()} == {1}, "OpenAI's fields are not compared any more"
assert [times for *_, times in halves] == [1, 0, 0] and '"abort"' in halves[2][1], "half a text is not kept any more"
assert "max_completion_tokens" in limit[1] and "max_tokens" not in limit[1], "max_tokens arrives as it is now"
assert (streams, completions) == ([1, 1], [1, 1]), "streams or completions are kept now"
assert failed == {"400": (400, 1), "429": (429, 3), "500": (500, 3), "503": (503, 3), "breaks": (502, 3)}, "it asks otherwise now"
assert gone == LONG, "clients that leave are heard now"
assert refused.headers["Retry-After"] is None, "its own 429 says when to come back now"
PYTHON
