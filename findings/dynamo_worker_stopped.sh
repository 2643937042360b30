#!/bin/sh
# Answers in flight when a worker of NVIDIA's Dynamo 1.6.1 is stopped, and when it is killed, with a second worker that has
# room (the sample worker that Dynamo ships, on the CPU; `--migration-limit 3`).
#
# Guess: who is stopped by SIGTERM ends its answers, or the other worker goes on with them: with a limit above 0 they are
#        moved when a worker fails or shuts down, by Dynamo's documentation, and else the client gets an error that says
#        to try again. By SIGKILL more is lost.
# Seen:  the other way round. Killed, its answers go on at the other worker and end with 200. Stopped, it has five seconds;
#        what is not ended then is over, and nobody goes on with it: a whole answer is a 499, "Client Closed Request", though
#        the client waits (on a busy machine sometimes a 500), and a stream ends with an event of that code, then [DONE].
#        What was written is lost, the tokens were spent, and a 4xx is what a client takes for a fault of its own request,
#        which it does not repeat.
# So:    give workers DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS, longer than the longest answer takes: then they end what they
#        have. Take a 499 for a failure in passing that may have been billed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# ai-dynamo names a package that the index does not have (aisimulate); frontend and sample worker do without.
"$folder/venv/bin/python" -m pip install --quiet --no-deps 'ai-dynamo==1.6.1' 'ai-dynamo-runtime==1.6.1' 2>/dev/null
"$folder/venv/bin/python" -m pip install --quiet aiohttp msgspec prometheus-client pydantic pyzmq uvloop tokenizers 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from importlib.metadata import version
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers

STEP = 0.25  # seconds that a token takes
TOKENS = 40  # of an answer: ten seconds
os.environ |= {"HF_HUB_OFFLINE": "1", "DYN_FILE_KV": os.path.abspath("kv"), "HOME": os.getcwd()}
running = []


def write_model():
    """A folder with what the frontend reads of a model: the sample worker needs no weights."""
    tokenizer = Tokenizer(models.WordLevel({f"w{number}": number for number in range(32000)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    Path("model").mkdir()
    tokenizer.save("model/tokenizer.json")
    chat = {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": "{{ messages[0].content }}"}
    Path("model/tokenizer_config.json").write_text(json.dumps(chat))
    llama = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32000, "eos_token_id": 31999}
    Path("model/config.json").write_text(json.dumps({**llama, "max_position_embeddings": 2048}))


def start(module, *options, **settings):
    command = ["venv/bin/python", "-m", module, "--discovery-backend", "file", "--event-plane", "zmq", *options]
    with open("log", "a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **settings})
    running.append(process)
    return process


def worker(**settings):
    options = ("--model-name", "model", "--delay", str(STEP), "--disable-kv-routing")
    return start("dynamo.common.backend.sample_main", *options, **settings)


def ask(port, stream=False, tokens=TOKENS):
    """The status, and how the answer ends: its tokens, or the error."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    body = json.dumps({"model": "model", "prompt": "w1 w2", "max_tokens": tokens, "stream": stream})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read().decode()
    if not stream:
        whole = json.loads(said)
        return answer.status, whole["usage"]["completion_tokens"] if answer.status == 200 else whole.get("type")
    *_, last = [json.loads(line[6:]) for line in said.splitlines() if line.startswith("data: {")]
    assert said.rstrip().endswith("[DONE]")
    return answer.status, last.get("error") or last["choices"][0]["finish_reason"]


def is_up(port, tries=600):
    for _ in range(tries):
        try:
            if ask(port, tokens=1)[0] == 200:
                return
        except (OSError, ValueError):  # the frontend is not there yet, or has no worker yet
            pass
        time.sleep(0.2)
    raise AssertionError(Path("log").read_text()[-2000:])


def ends(port, how, **settings):
    """Starts two workers, and ends the first one amid four whole answers and four streams. How each ended."""
    workers = [worker(**settings), worker(**settings)]
    is_up(port)
    time.sleep(10)  # until the second one is known, too
    found, threads = [], []
    for stream in (False, False, False, False, True, True, True, True):
        threads.append(threading.Thread(target=lambda stream=stream: found.append((stream, *ask(port, stream)))))
        threads[-1].start()
        time.sleep(0.05)
    time.sleep(2)
    workers[0].send_signal(how)
    for thread in threads:
        thread.join()
    for one in workers:
        one.kill()
        one.wait()
    time.sleep(3)
    return found


write_model()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
start("dynamo.frontend", "--http-host", "127.0.0.1", "--http-port", str(port), "--migration-limit", "3")
try:
    stopped, killed = ends(port, signal.SIGTERM), ends(port, signal.SIGKILL)
    patient = ends(port, signal.SIGTERM, DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS="30")
finally:
    for process in running:
        process.kill()
        process.wait()
print("ai-dynamo", version("ai-dynamo"))
for how, found in (("stopped", stopped), ("killed", killed), ("stopped, with 30 s", patient)):
    print(f"one of two workers is {how}:")
    for stream, status, end in sorted(found, key=str):
        print("   ", "a stream:" if stream else "a whole answer:", status, end)
lost = [(status, end) for stream, status, end in stopped if not stream and status != 200]
broken = [end["code"] for stream, _, end in stopped if stream and end != "length"]
assert 0 < len(lost) + len(broken) < len(stopped), "a worker that is stopped ends its answers now"
assert {status for status, _ in lost} | set(broken) <= {499, 500}, f"it has another error now: {lost} {broken}"
assert all(end == "Client Closed Request" for status, end in lost if status == 499)
fine = {(False, 200, str(TOKENS)), (True, 200, "length")}
assert {(stream, status, str(end)) for stream, status, end in killed} == fine, "what a killed worker had is lost now"
assert {(stream, status, str(end)) for stream, status, end in patient} == fine, "more time does not help any more"
PYTHON
