#!/bin/sh
# A system prompt that is changed between two runs, in Bespoke Labs' curator 0.1.31.
#
# Guess: answers are kept by what was asked, as its documentation has it: a run has those of an earlier one where the
#        dataset, the prompt method, the model and the parameters are the same. A changed prompt is asked anew.
# Seen:  neither `system_prompt` nor the server's address counts, nor what a prompt method reads of its own object
#        (`self.tone`). After "Answer in English." the prompt "Answer in German." gets the English answers, without a word
#        to say that the prompt is another. Where the first run was broken off, what is left is asked, and paid for, with
#        the old system prompt. And each start sends a chat without messages to learn the rates, also where all is known.
# So:    set `CURATOR_DISABLE_CACHE=1`, or a `working_dir` for each wording; or put the wording into each row.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile 'bespokelabs-curator==0.1.31' 2>/dev/null
cd "$folder"
cat > run.py <<'PYTHON'
"""Asks q1, q2 and q3 once for each line of its input: a server, a system prompt, and a tone that the prompt method knows."""
import json
import sys

from bespokelabs import curator


class Toned(curator.LLM):
    tone = ""

    def prompt(self, row):
        return f"{self.tone}{row['question']}"

    def parse(self, row, response):
        return {"response": response}


for line in sys.stdin:
    url, system, tone = json.loads(line)
    llm = Toned(model_name="gpt-4o-mini", backend="openai", backend_params={"base_url": url}, system_prompt=system)
    llm.tone = tone
    rows = llm([{"question": "q1"}, {"question": "q2"}, {"question": "q3"}]).dataset
    print("ANSWERS", json.dumps([row["response"] for row in rows]), flush=True)
PYTHON
venv/bin/python - <<'PYTHON'
import json
import os
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

asked = []  # the words of each request that came, system prompt and all
stuck = threading.Event()  # while it is not set, q3 gets no answer
stuck.set()


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = " / ".join(message["content"] for message in request["messages"])
        asked.append(said)
        if said.endswith("q3"):
            stuck.wait(60)
        choice = {"index": 0, "message": {"role": "assistant", "content": f"{self.server.name} to {said}"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(name):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    server.name = name
    server.handle_error = lambda *_: None  # a client that was killed
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


def start(cache):
    environment = {**os.environ, **SETTINGS, "CURATOR_CACHE_DIR": str(Path(cache).absolute())}
    pipe = subprocess.PIPE
    return subprocess.Popen(["venv/bin/python", "run.py"], env=environment, stdin=pipe, stdout=pipe, stderr=open("log", "w"), text=True)


def run(program, title, url, system=None, tone=""):
    """What was asked, and the answers that the run hands out."""
    asked.clear()
    print(json.dumps([url, system, tone]), file=program.stdin, flush=True)
    said = next((line for line in program.stdout if line.startswith("ANSWERS ")), None)
    assert said, Path("log").read_text()[-2000:]
    answers = json.loads(said.removeprefix("ANSWERS "))
    print(f"{title}: asked {sorted(asked)}, answers {answers}")
    return sorted(asked), answers


tokenizers = Path(find_spec("litellm").origin).parent / "litellm_core_utils/tokenizers"  # else it looks for them far away
SETTINGS = {
    "HOME": os.getcwd(), "OPENAI_API_KEY": "none", "TIKTOKEN_CACHE_DIR": str(tokenizers), "TELEMETRY_ENABLED": "0",
    "CURATOR_VIEWER": "0", "HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
}
one, other = serve("one"), serve("other")
print("bespokelabs-curator", version("bespokelabs-curator"))
ENGLISH = [f"one to Answer in English. / q{number}" for number in (1, 2, 3)]
with start("whole") as program:
    first = run(program, "Answer in English.", one, "Answer in English.")
    assert first[1] == ENGLISH and len(first[0]) == 4 and first[0][0] == "", first
    assert run(program, "Answer in German.", one, "Answer in German.") == ([""], ENGLISH), "it is asked anew now"
    assert run(program, "another server", other, "Answer in English.") == ([""], ENGLISH), "the server counts now"
    tone = run(program, "no system prompt, and a tone", one, tone="Kindly: ")
    assert tone == ([""], ENGLISH), "the tone counts now"
    program.stdin.close()

stuck.clear()
with start("broken") as program:
    print(json.dumps([one, "Answer in English.", ""]), file=program.stdin, flush=True)
    responses = []
    while len(responses) < 2 and program.poll() is None:
        time.sleep(0.2)
        responses = [line for file in Path("broken").glob("*/responses_0.jsonl") for line in file.read_text().splitlines()]
    program.kill()
stuck.set()
with start("broken") as program:
    rest = run(program, "broken off, then Answer in German.", one, "Answer in German.")
    assert rest == (["", "Answer in English. / q3"], ENGLISH), "what is left is asked with the new prompt now"
    program.stdin.close()
PYTHON
