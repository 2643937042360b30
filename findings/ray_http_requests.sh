#!/bin/sh
# Requests that Ray Data 2.60.0 sends to an API (`HttpRequestProcessorConfig` of ray.data.llm, its way to ask OpenAI and
# the like), and what it makes of refusals.
#
# Guess: a row's request is what `preprocess` returned for it. A refusal is an error of its row; with max_retries 0 that
#        row is lost, and the others have their answers. `qps` bounds how many are sent a second; in its own words, if
#        there is none "the request will be sent sequentially".
# Seen:  a request is made anew out of a table of its neighbours: a key that one of them has is sent as null by all
#        others, at any depth, and a whole number beside a null or a fraction gets a .0. A JSON schema has the
#        properties of its neighbours' schemas, as null: it is no schema any more. What is sent goes by which rows lie
#        in one block. 400, 401 and 500 with a body in JSON are no errors: their bodies are results, as answers are. One
#        429 ends the whole run, by default, and one page of HTML whatever `max_retries` says; all answers of its batch,
#        which were paid for, are gone. With `qps` requests are sent one by one, too: a worker waits for each answer
#        before it sends the next.
# So:    give the payloads of a dataset the same keys, with values of the same types, or one schema for all; look for
#        `error` in each `http_response`; set `max_retries`, and a `batch_size` that may be lost; and as large a
#        `concurrency` as there shall be requests at once.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'ray[data]==2.60.0' 'aiohttp==3.14.5' 'pydantic==2.14.4' 2>/dev/null
cd "$folder"
cat > send.py <<'PYTHON'
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import ray
from ray.data.llm import HttpRequestProcessorConfig, build_processor

sent = []  # the body of each request that came
at_once = [0, 0]  # requests at work, and the most there were


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        sent.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        at_once[0] += 1
        at_once[1] = max(at_once)
        time.sleep(0.1)
        at_once[0] -= 1
        prompt = sent[-1]["messages"][0]["content"]
        status, kind, body = 200, "application/json", {"choices": [{"message": {"content": f"answer to {prompt}"}}]}
        if prompt == "page":
            status, kind, body = 500, "text/html", "<html>"
        elif prompt.isdecimal():
            status, body = int(prompt), {"error": {"message": f"no: {prompt}"}}
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def run(payloads, **settings):
    """The responses of a run over these payloads, or None where it raised."""
    sent.clear()
    at_once[:] = 0, 0
    config = HttpRequestProcessorConfig(url=f"http://127.0.0.1:{server.server_address[1]}/v1/chat", **settings)
    rows = ray.data.from_items([{"payload": json.dumps(payload)} for payload in payloads], override_num_blocks=1)
    processor = build_processor(config, preprocess=lambda row: {"payload": json.loads(row["payload"])})
    try:
        return [row["http_response"] for row in processor(rows).take_all()]
    except Exception:
        return None


def ask(prompt, **fields):
    return {"messages": [{"role": "user", "content": prompt}], **fields}


def schema(name, kind):
    return {"type": "object", "properties": {name: {"type": kind}}, "required": [name]}


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
ray.data.DataContext.get_current().enable_progress_bars = False
print("ray", ray.__version__)
first = ask("a", seed=1, json_schema=schema("name", "string"))
second = ask("b", top_p=0.5, json_schema=schema("price", "number"))
assert len(run([first, second])) == 2
print("given:", first, second, "sent:", *sent, sep="\n    ")
assert json.dumps(sent[0]["seed"]) == "1.0", "whole numbers stay whole now"
assert sent[0]["top_p"] is None and sent[1]["seed"] is None, "keys of the neighbours are left out now"
assert sent[0]["json_schema"]["properties"] == {"name": {"type": "string"}, "price": None}, "schemas stay as they are"
assert sent[1]["json_schema"]["properties"] == {"name": None, "price": {"type": "number"}}
results = run([ask(prompt) for prompt in ("a", "400", "401", "500")])
print("400, 401, 500:", *results, sep="\n    ")
assert [bool(result["choices"]) for result in results] == [True, False, False, False], "they are errors now"
assert results[3]["error"] == {"message": "no: 500"}
for last, settings in (("429", {}), ("page", {"max_retries": 3})):
    results = run([ask(prompt) for prompt in ("a", "b", "c", "d", last)], **settings)
    print(f"four answers, then {last} {settings}: {len(sent)} requests, results: {results}")
    assert results is None and len(sent) == 5, "one refusal no longer ends the run"
assert len(run([ask(f"q{at}") for at in range(10)], qps=1000)) == 10
print(f"with qps: at most {at_once[1]} at once")
assert at_once[1] == 1, "several are sent at once now"
ray.shutdown()
PYTHON
RAY_USAGE_STATS_ENABLED=0 venv/bin/python send.py 2>errors || { cat errors; exit 1; }
