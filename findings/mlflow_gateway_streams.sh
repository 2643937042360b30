#!/bin/sh
# Streams, failures, log-probs and clients that leave, behind the AI gateway of MLflow 3.17.2 (`mlflow server`; its
# /gateway/mlflow/v1/chat/completions, beside /gateway/openai/v1/chat/completions, which passes a request on).
#
# Guess: both speak OpenAI's API, as its documentation has it. A refusal has its status, streamed or not, and says when to
#        come back; a stream ends with [DONE]; who sends `logprobs` on hands them out. A client that has gone is one fewer
#        to answer.
# Seen:  no stream is ever refused: it is a 200, and 400, 401, 429 and 500 of the server are words in its only event, such
#        as "429: no" of type HTTPException. `Retry-After` is gone, of whole answers as well. The first of the two asks
#        the server for log-probs, and thoughts are made, and both are left out of what the client gets; its streams have
#        no [DONE]; of an error within a stream it tells that it did not find 'id'. Behind both a whole answer is generated
#        to its end after its client has gone; a stream is given up.
# So:    read the events before one counts a 200, look for the status in their words, and wait by a rule of one's own. Use
#        the second one for log-probs and thoughts. With a time-out of one's own stream.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile 'mlflow==3.17.2' 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import http.client
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

PATHS = {"mlflow": "/gateway/mlflow/v1/chat/completions", "openai": "/gateway/openai/v1/chat/completions"}
LONG = 60  # tenths of a second that the prompt `slow` takes
TOKEN = {"token": "word", "logprob": -0.5, "bytes": [119, 111, 114, 100], "top_logprobs": []}
asked = []  # the requests that came
made = []  # tenths that `slow` worked before its client was gone


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(request)
        prompt, stream = request["messages"][-1]["content"], request.get("stream", False)
        if prompt.isdigit():
            self.whole(int(prompt), {"error": {"message": "no", "type": "no", "code": int(prompt)}})
        elif stream:
            self.stream(prompt)
        else:
            if prompt == "slow" and not self.work():
                return
            message = {"role": "assistant", "content": "word", "reasoning_content": "thought"}
            told = {"finish_reason": "stop", "logprobs": {"content": [TOKEN]}}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            choice = {"index": 0, "message": message, **told}
            answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
            self.whole(200, {**answer, "usage": usage})

    def stream(self, prompt):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        if prompt == "slow" and not self.work():
            return
        self.chunk({"role": "assistant", "content": "word", "reasoning_content": "thought"}, logprobs={"content": [TOKEN]})
        if prompt == "breaks":
            self.event({"error": {"message": "the engine died", "type": "server_error", "code": 500}})
        else:
            self.chunk({}, finish_reason="stop")
        self.wfile.write(b"data: [DONE]\n\n")

    def work(self):
        """Works for its time, in a stream with words, and is told whether its client stayed."""
        for tenth in range(LONG):
            time.sleep(0.1)
            try:
                if asked[-1].get("stream"):
                    self.chunk({"content": "word"})
                gone = bool(select.select([self.connection], [], [], 0)[0])
            except OSError:
                gone = True
            if gone:
                made.append(tenth)
                return False
        made.append(LONG)
        return True

    def chunk(self, delta, **more):
        choice = {"index": 0, "delta": delta, "finish_reason": None, **more}
        self.event({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})

    def event(self, said):
        self.wfile.write(b"data: " + json.dumps(said).encode() + b"\n\n")

    def whole(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def post(path, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    return connection


def make(kind, **fields):
    """What the gateway keeps of a thing that is made by its API."""
    answer = post(f"/api/3.0/mlflow/gateway/{kind}/create", fields).getresponse()
    said = answer.read()
    assert answer.status == 200, said
    (made_thing,) = json.loads(said).values()
    return made_thing


def send(path, prompt, **fields):
    return post(path, {"model": "e", "messages": [{"role": "user", "content": prompt}], **fields})


def ask(path, prompt, **fields):
    """The answer's status, its `Retry-After`, and what stands in it: its JSON, or that of its events."""
    answer = send(path, prompt, **fields).getresponse()
    said = answer.read().decode()
    if not fields.get("stream"):
        return answer.status, answer.headers["Retry-After"], json.loads(said)
    events = [line.removeprefix("data: ") for line in said.splitlines() if line.startswith("data: ")]
    return answer.status, answer.headers["Retry-After"], [event if event == "[DONE]" else json.loads(event) for event in events]


def left(path, **fields):
    """Tenths of a second that the server worked for a client that left after ten."""
    asked.clear()
    made.clear()
    connection = send(path, "slow", **fields)
    while not asked:
        time.sleep(0.1)
    time.sleep(1)
    connection.close()
    while not made:
        time.sleep(0.1)
    return made[0]


def up(server):
    for _ in range(3000):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            assert server.poll() is None, "MLflow did not start"
        time.sleep(0.1)
    raise AssertionError("MLflow did not start in five minutes")


upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=upstream.serve_forever, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
settings = {"MLFLOW_GATEWAY_API_BASE_ALLOWED_SCHEMES": "http", "MLFLOW_GATEWAY_API_BASE_ALLOW_PRIVATE_IPS": "true"}
settings |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "HOME": os.getcwd()}
command = ["venv/bin/mlflow", "server", "--backend-store-uri", "sqlite:///mlflow.db", "--host", "127.0.0.1"]
command += ["--port", str(port), "--workers", "1"]
failed = {"whole": {}, "streamed": {}}
with open("mlflow.log", "w") as log, subprocess.Popen(
    command, env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True
) as server:
    try:
        up(server)
        address = f"http://127.0.0.1:{upstream.server_address[1]}/v1"
        key = {"secret_name": "s", "secret_value": {"api_key": "none"}, "auth_config": {"api_base": address}}
        secret = make("secrets", provider="openai", **key)["secret_id"]
        model = make("model-definitions", name="m", secret_id=secret, provider="openai", model_name="m")["model_definition_id"]
        make("endpoints", name="e", model_configs=[{"model_definition_id": model, "linkage_type": "PRIMARY"}])
        for name, path in PATHS.items():
            failed["whole"][name] = {status: ask(path, status) for status in ("400", "401", "429", "500")}
            failed["streamed"][name] = {status: ask(path, status, stream=True) for status in ("400", "401", "429", "500")}
        whole = {name: ask(path, "hi", logprobs=True)[2]["choices"][0] for name, path in PATHS.items()}
        sent_on = [request.get("logprobs") for request in asked[-2:]]
        streams = {name: ask(path, "hi", logprobs=True, stream=True)[2] for name, path in PATHS.items()}
        broken = {name: ask(path, "breaks", stream=True)[2] for name, path in PATHS.items()}
        stayed = {name: (left(path), left(path, stream=True)) for name, path in PATHS.items()}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
print("mlflow", version("mlflow"))
for way, names in failed.items():
    for name, answers in names.items():
        for status, (seen, again, said) in answers.items():
            print(f"{status}, {way}, by {name}: {seen}, Retry-After {again}, {said}")
for name in PATHS:
    print(f"a whole answer by {name}: {whole[name]}")
    print(f"a stream by {name}: {streams[name]}")
    print(f"a stream that breaks, by {name}: {broken[name]}")
    work, streamed = stayed[name]
    print(f"a client that left after 1 s, by {name}: worked on for {work / 10} s of {LONG / 10}, in a stream for {streamed / 10} s")
for name in PATHS:
    for status, answer in failed["whole"][name].items():
        assert answer == (int(status), None, {"detail": "no"}), "whole answers fail otherwise now"
    for status, answer in failed["streamed"][name].items():
        assert answer == (200, None, [{"error": {"message": f"{status}: no", "type": "HTTPException"}}]), "streams are refused now"
    assert stayed[name][0] == LONG and stayed[name][1] < LONG // 2, "clients that leave are treated otherwise now"
assert sent_on == [True, True], "log-probs are not asked for any more"
told = json.dumps(whole["mlflow"])
assert "logprob" not in told and "thought" not in told, "log-probs or thoughts are handed out now"
assert whole["openai"]["logprobs"] == {"content": [TOKEN]} and "thought" in json.dumps(whole["openai"])
told = json.dumps(streams["mlflow"])
assert "logprob" not in told and "thought" not in told, "streams have log-probs or thoughts now"
assert streams["openai"][0]["choices"][0]["logprobs"] == {"content": [TOKEN]}
assert (streams["mlflow"][-1] == "[DONE]", streams["openai"][-1]) == (False, "[DONE]"), "both end with [DONE] now"
assert broken["mlflow"][-1] == {"error": {"message": "'id'", "type": "KeyError"}}, "what broke is told now"
assert broken["openai"][-2]["error"]["message"] == "the engine died"
PYTHON
