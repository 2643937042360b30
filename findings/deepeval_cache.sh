#!/bin/sh
# Judgements that DeepEval 4.3.1 hands out of its cache (`CacheConfig(use_cache=True)`, or `deepeval test run -c`).
#
# Guess: a judgement is reused for the same answer, judged by the same measure. Of a metric the threshold, the judge's
#        name, the criteria and the steps are compared; what else makes a metric what it is will be, too.
# Seen:  nothing else is. An answer that fitted one JSON schema passes another that it does not fit: nothing is checked,
#        and JsonCorrectnessMetric says 1.0. So it is with the instructions of PromptAlignmentMetric, the rubric of
#        GEval, the pattern of PatternMatchMetric; with the tools that were called, of which ToolCorrectnessMetric says
#        that all that were expected were; with the `hyperparameters` of `evaluate`; and with the judge's address:
#        another server's model under the same name is never asked. Each is a success with the old score, and nothing
#        in the results tells that it is old. A run writes that cache also where it does not use it, so what comes is
#        what the last run found.
# So:    leave `use_cache` out wherever anything but the answers has changed. It is known in part: pull requests 2561
#        and 2840 of deepeval, open since March and July 2026. The cache of ragas 0.4.3 does not even compare the
#        judge's name (tried; its issue 2983, open since September 2026).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'deepeval==4.3.1' 2>/dev/null
cd "$folder"
cat > judge.py <<'PYTHON'
"""Has an answer judged by each of some metrics, as a program of its own, and prints the scores."""
import json
import sys

from deepeval import evaluate
from deepeval.evaluate import CacheConfig, DisplayConfig
from deepeval.metrics import GEval, JsonCorrectnessMetric, PatternMatchMetric, PromptAlignmentMetric
from deepeval.metrics import ToolCorrectnessMetric
from deepeval.metrics.g_eval import Rubric
from deepeval.models import LocalModel
from deepeval.test_case import LLMTestCase, SingleTurnParams, ToolCall
from pydantic import BaseModel


class Person(BaseModel):
    name: str


class Price(BaseModel):
    price: float


url, changed, use_cache, hyper = sys.argv[1], sys.argv[2] == "changed", sys.argv[3] == "cache", {"prompt": sys.argv[4]}
judge, large = (LocalModel(model=name, base_url=url, api_key="none") for name in ("small", "large"))
both = [SingleTurnParams.INPUT, SingleTurnParams.ACTUAL_OUTPUT]
rubric = [Rubric(score_range=(0, 4), expected_outcome="Wrong"), Rubric(score_range=(5, 10), expected_outcome="Right")]


def graded(name, criteria="Is it right?", model=judge, rubric=None):
    return GEval(name, evaluation_params=both, criteria=criteria, model=model, rubric=rubric)


metrics = {
    "server": graded("server"),
    "rubric": graded("rubric", rubric=rubric if changed else None),
    "instructions": PromptAlignmentMetric(["Answer in Danish" if changed else "Answer in JSON"], model=judge),
    "schema": JsonCorrectnessMetric(Price if changed else Person, model=judge, include_reason=False),
    "pattern": PatternMatchMetric("[0-9]+" if changed else ".*Ann.*"),
    "tools": ToolCorrectnessMetric(model=judge),
    "criteria": graded("criteria", "Is it kind?" if changed else "Is it right?"),
    "judge": graded("judge", model=large if changed else judge),
}
answer = LLMTestCase(
    input="Who?", actual_output='{"name": "Ann"}', expected_tools=[ToolCall(name="search")],
    tools_called=[ToolCall(name="delete" if changed else "search")])
results = evaluate(
    [answer], list(metrics.values()), hyperparameters=hyper, cache_config=CacheConfig(use_cache=use_cache),
    display_config=DisplayConfig(print_results=False, show_indicator=False))
said = results.test_results[0].metrics_data
assert len(said) == len(metrics)
print(json.dumps(dict(zip(metrics, [one.score for one in said]))))
PYTHON
venv/bin/python - <<'PYTHON'
import json
import os
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path


class Judge(BaseHTTPRequestHandler):
    """Finds everything right, or nothing, for each way of asking that the metrics have."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        verdict, score = ("yes", 10) if self.server.kind else ("no", 0)
        said = {"steps": ["Look at it."], "score": score, "reason": verdict}
        text = json.dumps({**said, "verdicts": [{"verdict": verdict, "reason": verdict}]})
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        said = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve(kind):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Judge)
    server.kind, server.asked = kind, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def run(server, *words):
    """The score by each metric, and how often the judge was asked."""
    server.asked = 0
    off = {f"DEEPEVAL_{name}": "1" for name in ("TELEMETRY_OPT_OUT", "DISABLE_DOTENV", "UPDATE_WARNING_OPT_OUT")}
    environment = {"PATH": os.environ["PATH"], "HOME": os.getcwd(), **off}
    command = ["venv/bin/python", "judge.py", f"http://127.0.0.1:{server.server_address[1]}/v1", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    return json.loads(done.stdout.splitlines()[-1]), server.asked


kind, strict = serve(True), serve(False)
first, asked_first = run(kind, "as it was", "no cache", "one")
assert Path(".deepeval/.deepeval-cache.json").exists(), "a run that does not use the cache does not write it now"
shutil.copytree(".deepeval", "kept")
cached, asked_cached = run(strict, "changed", "cache", "one")
shutil.rmtree(".deepeval")
shutil.copytree("kept", ".deepeval")
named, _ = run(strict, "changed", "cache", "two")
shutil.rmtree(".deepeval")
right, asked_right = run(strict, "changed", "no cache", "one")
print("deepeval", version("deepeval"))
print(f"at first, by a judge that finds all right: {first}; asked {asked_first} times")
print(f"all changed, a judge at another address that finds nothing right: {right}; asked {asked_right} times")
print(f"the same with the cache of the first run: {cached}; asked {asked_cached} times")
print(f"and with other hyperparameters as well: {named}")
assert set(first.values()) == {1.0} and set(right.values()) == {0.0}
compared = {name for name, score in cached.items() if score == 0.0}
assert compared == {"criteria", "judge"}, f"compared are now: {compared}"
assert named == cached, "hyperparameters count now"
assert 0 < asked_cached < asked_right
PYTHON
