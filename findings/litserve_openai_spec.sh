#!/bin/sh
# The OpenAISpec of LitServe 0.2.19, by which one's own model speaks OpenAI's chats.
#
# Guess: a stream is the whole answer in pieces, for each of `n` choices until its own end; `usage` counts them all. A
#        failure ends a stream with an event, a client that hangs up ends the work, SIGTERM ends the server.
# Seen:  a stream of several choices ends where the shortest of them does: of six words two are there, and each choice
#        says finish_reason stop. That is said of every answer: `predict` has no way to say that max_tokens cut it. Of
#        the counts that `predict` gives with its pieces a stream has the last piece's alone, a whole answer their sum.
#        After a failure amid a stream its event lacks the blank line that would end it, so that a parser by the book
#        drops it: half a text, and the end of a 200. Streamed or whole, an answer is made to its end after its client
#        has gone. A SIGTERM to the process that was started ends only that one: its children hold the port, and go on
#        answering.
# So:    with `n` ask for whole answers, or for one each; believe a length rather than `stop`; take a stream without
#        [DONE] for broken; and stop the server's whole process group.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'litserve==0.2.19' 2>/dev/null
cd "$folder"
cat > server.py <<'PYTHON'
"""Answers with two words, then with six, then with two, and so on."""
import sys
import time
from pathlib import Path

import litserve


class Words(litserve.LitAPI):
    def setup(self, device):
        self.answers = 0

    def predict(self, request):
        self.answers += 1
        words = "one two three four five six".split()[: 2 if self.answers % 2 else 6]
        prompt = request.messages[-1].content
        for at, word in enumerate(words if prompt != "slow" else ["word"] * 30):
            if prompt == "slow":
                time.sleep(0.1)
                Path("made").write_text(str(at + 1))
            if prompt == "fail" and at == 1:
                raise ValueError("no")
            yield {"role": "assistant", "content": f"{word} ", "prompt_tokens": 5 * (at == 0), "completion_tokens": 1}


if __name__ == "__main__":
    server = litserve.LitServer(Words(spec=litserve.OpenAISpec()), accelerator="cpu", timeout=60)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
PYTHON
venv/bin/python - <<'PYTHON'
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from importlib.metadata import version
from pathlib import Path


def send(port, prompt, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"model": "words", "messages": [{"role": "user", "content": prompt}], **fields})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    return connection


def whole(port, **fields):
    said = json.load(send(port, "Hi", **fields).getresponse())
    return [(one["message"]["content"], one["finish_reason"]) for one in said["choices"]], said["usage"]


def streamed(port, **fields):
    lines = send(port, "Hi", stream=True, **fields).getresponse().read().decode().split("\n")
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    choices = [[event["choices"][at] for event in events] for at in range(fields.get("n", 1))]
    texts = ["".join(piece["delta"]["content"] or "" for piece in choice) for choice in choices]
    return [*zip(texts, [choice[-1]["finish_reason"] for choice in choices])], events[-1]["usage"]


def left(port, **fields):
    """How many words of 30 were made for a client that left after ten."""
    Path("made").write_text("0")
    connection = send(port, "slow", **fields)
    time.sleep(1)
    connection.close()
    before = 0
    while (now := int(Path("made").read_text() or before)) > before or not now:
        before = now
        time.sleep(0.5)
    return before


def answers(port):
    try:
        return send(port, "Hi").getresponse().status == 200
    except OSError:
        return False


with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
log = open("server.log", "w")
command = ["venv/bin/python", "server.py", str(port)]
server = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
try:
    for _ in range(600):
        if answers(port):
            break
        assert server.poll() is None, "the server did not start"
        time.sleep(0.1)
    whole(port)  # two answers so far: the next one has two words
    two = {"whole": whole(port, n=2), "streamed": streamed(port, n=2)}
    streamed(port)
    one = {"whole": whole(port), "streamed": (streamed(port), streamed(port))[1]}
    failure = send(port, "fail", stream=True).getresponse()
    failed = failure.status, failure.read().decode()
    worked = left(port), left(port, stream=True)
    server.terminate()
    code = server.wait(30)
    time.sleep(2)
    after = answers(port)
finally:
    os.killpg(server.pid, signal.SIGKILL)
print("litserve", version("litserve"))
for name, said in (("n: 2", two), ("n: 1", one)):
    for way, (choices, usage) in said.items():
        print(f"{name}, {way}: {choices}, {usage}")
print(f"a failure amid a stream: {failed[0]}, and at the end {failed[1][-60:]!r}")
print(f"words of 30 that were made for a client that left after ten: whole {worked[0]}, streamed {worked[1]}")
print(f"after SIGTERM the process that was started has ended with {code}; the port answers: {after}")
short, long = ("one two ", "stop"), ("one two three four five six ", "stop")
assert two["whole"][0] == [short, long] and two["streamed"][0] == [short, short], "each choice has its own end now"
assert one["whole"][0] == one["streamed"][0] == [long]
counts = {way: (usage["prompt_tokens"], usage["completion_tokens"]) for way, (_, usage) in one.items()}
assert counts == {"whole": (5, 6), "streamed": (0, 1)}, f"a stream counts otherwise now: {counts}"
assert failed[0] == 200 and '"error"' in failed[1] and not failed[1].endswith("\n"), "the event has its end now"
assert worked == (30, 30), "the work ends now when the client leaves"
assert code == -signal.SIGTERM and after, "SIGTERM ends the server now"
PYTHON
