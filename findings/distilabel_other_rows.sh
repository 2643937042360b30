#!/bin/sh
# A pipeline of distilabel 1.5.3 that is run for other rows than the last time.
#
# Guess: `use_cache` is on by default, and reuses what a step made; by its documentation a step whose parameters changed
#        is run again. The rows are what a step is run for: others are asked, as is one more.
# Seen:  the rows do not count, whether they stand in `LoadDataFromDicts` or are handed to `run(dataset=...)` as a list or a
#        frame. For the rows q3 and q4 nothing is asked, and the results are the rows q1 and q2 with their answers; with
#        q1, q2, q3 there is no q3. No error, no warning. Of a frame the number of rows counts, and no more: with one more
#        nothing is asked, and the results are empty. Another system prompt is asked anew.
# So:    `run(use_cache=False)`, or a `cache_dir` for each input, by its hash; and compare the rows that come out with those
#        that went in.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# The last two it imports, and does not name among what it needs.
"$folder/venv/bin/python" -m pip install --quiet --no-compile 'distilabel[openai]==1.5.3' 'requests==2.34.2' \
    'beautifulsoup4==4.15.0' 2>/dev/null
cd "$folder"
cat > rows.py <<'PYTHON'
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import pandas as pd
from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

asked = []  # the words of each request that came


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked.append(" / ".join(message["content"] for message in request["messages"]))
        choice = {"index": 0, "message": {"role": "assistant", "content": f"to {asked[-1]}"}, "finish_reason": "stop"}
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


def run(url, cache, rows, handed=None, use_cache=True, **words):
    """What was asked, and a row and its answer for each row that came out."""
    asked.clear()
    rows = [{"instruction": row} for row in rows]
    with Pipeline(name="names", cache_dir=cache) as pipeline:
        llm = OpenAILLM(model="m", api_key="none", base_url=url, generation_kwargs={"temperature": 0.0})
        generation = TextGeneration(name="generation", llm=llm, **words)
        if handed is None:
            LoadDataFromDicts(name="rows", data=rows) >> generation
    made = pipeline.run(dataset=None if handed is None else handed(rows), use_cache=use_cache)
    answers = [(row["instruction"], row["generation"]) for part in made.values() for row in part["train"]]
    print(f"{cache}, {[row['instruction'] for row in rows]} {words or ''}: asked {sorted(asked)}, out {answers}", flush=True)
    return sorted(asked), answers


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    print("distilabel", version("distilabel"))
    OLD = [("q1", "to q1"), ("q2", "to q2")]
    for cache, handed in (("a step of its own", None), ("a list", list), ("a frame", pd.DataFrame)):
        assert run(url, cache, ["q1", "q2"], handed) == (["q1", "q2"], OLD)
        assert run(url, cache, ["q3", "q4"], handed) == ([], OLD), "other rows are asked now"
        left = [] if handed is pd.DataFrame else OLD
        assert run(url, cache, ["q1", "q2", "q3"], handed) == ([], left), "one more row is asked now"
    assert run(url, cache, ["q1", "q2"], handed, system_prompt="Be brief.")[0] == ["Be brief. / q1", "Be brief. / q2"]
    assert run(url, cache, ["q3", "q4"], handed, use_cache=False)[1] == [("q3", "to q3"), ("q4", "to q4")]
    os._exit(0)
PYTHON
HOME="$folder" HF_HUB_OFFLINE=1 DISTILABEL_LOG_LEVEL=CRITICAL venv/bin/python rows.py 2>log || { tail -50 log; exit 1; }
