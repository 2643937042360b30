#!/bin/sh
# An evaluation set of inspect_ai 0.3.285 (`eval_set`, `inspect eval-set`; with openai 3.57.0) that is started again in
# its log folder, after rows were edited.
#
# Guess: what was done is not done again, and what was edited is: another system prompt is noticed (the start is
#        refused, since the folder is another set's). Its documentation: "work picking up where the last invocation left
#        off".
# Seen:  of a finished task only the number of rows is compared. Each row was edited: nothing is asked, `success` is
#        True, and the log has last time's rows, with their answers and scores. So it is where a target was corrected,
#        since the first one was wrong: the score is that of the wrong one. With fewer rows the log has those that were
#        taken out. With one more, rows with an `id` are taken by that: the new one is asked, those that were edited
#        have their old texts and answers beside it. Where a row failed, and its text was mended, it is asked with the
#        new text; any other that was edited is not. No error, no warning. Rows without an `id` are all asked and paid
#        for again for one more.
# So:    a new `log_dir` for each version of the rows, named by their hash; and compare the texts in the log with those
#        that went in.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'inspect-ai==0.3.285' 'openai==3.57.0' 2>/dev/null
cd "$folder"
HOME=$folder INSPECT_DISPLAY=none LOCAL_API_KEY=none venv/bin/python - <<'PYTHON'
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from inspect_ai import Task, eval_set
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.log import read_eval_log
from inspect_ai.scorer import includes
from inspect_ai.solver import generate, system_message

asked = []  # the prompts that came since `run` began


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = request["messages"][-1]["content"]
        asked.append(prompt)
        choice = {"index": 0, "message": {"role": "assistant", "content": f"said {prompt}"}, "finish_reason": "stop"}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        if prompt == "refused":
            answer = {"error": {"message": "no", "type": "no", "code": "no"}}
        body = json.dumps(answer).encode()
        self.send_response(400 if prompt == "refused" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["LOCAL_BASE_URL"] = f"http://127.0.0.1:{server.server_address[1]}/v1"


def run(folder, *rows, ids=True, system="Be short."):
    """What is asked for rows of a text and a target, and the log's texts with their scores (C is correct)."""
    asked.clear()
    names = [f"row{at}" if ids else None for at in range(len(rows))]
    samples = [Sample(input=text, target=target, id=name) for (text, target), name in zip(rows, names, strict=True)]
    steps = [system_message(system), generate()]
    tried = Task(name="questions", dataset=MemoryDataset(samples), solver=steps, scorer=includes())
    success, logs = eval_set(
        tried, log_dir=folder, model="openai-api/local/m", retry_attempts=1, retry_wait=1, retry_on_error=0
    )
    done = read_eval_log(logs[0].location).samples
    return sorted(set(asked)), success, [(row.input, row.scores["includes"].value) for row in done if row.scores]


print("inspect_ai", version("inspect_ai"))
A, B = ("a", "said a"), ("b", "nothing")
first = run("edited", A, B)
print("two rows:", first)
assert first == (["a", "b"], True, [("a", "C"), ("b", "I")])

edited = run("edited", ("a, edited", "said a"), ("b, edited", "nothing"))
print("each row edited:", edited)
assert edited == ([], *first[1:]), "edited rows are asked now"
target = run("edited", A, ("b", "said b"))
print("the target of b corrected:", target)
assert target == ([], *first[1:]), "a corrected target counts now"
fewer = run("edited", A)
print("b taken out:", fewer)
assert fewer == ([], *first[1:]), "a row that was taken out is left out now"
more = run("edited", ("a, edited", "said a"), B, ("c", "said c"))
print("a edited, and c added:", more)
assert more == (["c"], True, [("a", "C"), ("b", "I"), ("c", "C")]), "edited rows are asked now beside a new one"

run("without", A, B, ids=False)
without = run("without", A, B, ("c", "said c"), ids=False)
print("without ids, c added:", without)
assert without[0] == ["a", "b", "c"], "rows without an id are known now"

run("failed", A, ("refused", "said b"))
failed = run("failed", ("a, edited", "said a"), ("b", "said b"))
print("a row that failed was mended, a was edited:", failed)
assert failed == (["b"], True, [("a", "C"), ("b", "C")]), "a is asked now"

try:
    run("edited", A, B, system="Be long.")
except Exception as error:  # PrerequisiteError, which is its own
    print("another system prompt:", type(error).__name__)
    assert not asked
else:
    raise AssertionError("another system prompt is not noticed any more")
PYTHON
