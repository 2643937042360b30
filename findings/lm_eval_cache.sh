#!/bin/sh
# What lm-evaluation-harness 0.4.13 keeps as an answer with `--use_cache`, and for whom (local-chat-completions, its way to
# ask vLLM and the like).
#
# Guess: an answer is kept for the model that gave it, and for what it was asked with. Its words: "Path to cache model
#        responses (skips repeated inference)". What is no answer is asked again by the next run.
# Seen:  the prompt counts, and the task's own generation settings. Neither the model's name nor the server's address does,
#        nor what else stands in `--model_args`: the second model of two is never asked, and its scores are the first
#        one's, under its own name. After `max_gen_toks` was raised, since answers were cut, the cut ones come again:
#        finish_reason is not looked at. A 200 that holds an error and no choice is kept as an empty answer, and so is
#        one whose content is null, as that of a model that only thought: a line in the log of the run that asked is all
#        that tells. Both are scored, and never asked again.
# So:    give each model, address and setting a path of its own, and delete it after an outage. That the model does not count
#        is known: issue 2715 of lm-evaluation-harness, open since February 2025.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'lm-eval[api]==0.4.13' 2>/dev/null
cd "$folder"
HOME="$folder" HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 venv/bin/python - <<'PYTHON'
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

QUESTIONS = ("whole", "cut", "error", "null")
TASK = {
    "task": "answers",
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "rows.jsonl"}},
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["###"]},
    "metric_list": [{"metric": "exact_match"}],
}
asked = []  # at which server, which model, with which limit, for each request


class Server(BaseHTTPRequestHandler):
    """Answers a question by what it says, and signs with the model's name; more than 16 tokens are enough for all."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        question, model = request["messages"][-1]["content"], request["model"]
        asked.append((self.server.server_address[1], model, request["max_tokens"]))
        cut = question == "cut" and request["max_tokens"] <= 16
        text = None if question == "null" else f"half by {model}" if cut else f"all by {model}"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}}
        choice["finish_reason"] = "length" if cut else "stop"
        answer = {"error": {"message": "out of memory", "code": 500}} if question == "error" else {"choices": [choice]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def serve():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/v1/chat/completions"


def run(name, address, model, tokens):
    """How many requests a run makes, and which answers it scores, by question."""
    asked.clear()
    settings = f"model={model},base_url={address},num_concurrent=2,max_gen_toks={tokens}"
    command = ["venv/bin/lm_eval", "--model", "local-chat-completions", "--model_args", settings, "--tasks", "answers"]
    command += ["--include_path", ".", "--use_cache", "answers", "--apply_chat_template", "--log_samples"]
    with open(f"{name}.log", "w") as log:
        subprocess.run([*command, "--output_path", name], stdout=log, stderr=log, check=True)
    (samples,) = Path(name).rglob("samples_*.jsonl")
    rows = [json.loads(line) for line in samples.read_text().splitlines()]
    return len(asked), {row["doc"]["question"]: row["filtered_resps"][0] for row in rows}


Path("answers.yaml").write_text(json.dumps(TASK))
Path("rows.jsonl").write_text("".join(json.dumps({"question": q, "answer": "all"}) + "\n" for q in QUESTIONS))
print("lm_eval", version("lm_eval"))
first, second = serve(), serve()
runs = {"large": (first, "large", 16), "small, at another server, with more tokens": (second, "small", 512)}
found = {}
for name, how in runs.items():
    found[name] = run(name, *how)
    print(f"{name}: {found[name][0]} requests; scored are", found[name][1])
answers = {"whole": "all by large", "cut": "half by large", "error": "", "null": ""}
assert found.pop("large") == (len(QUESTIONS), answers), "it answers otherwise now"
assert list(found.values()) == [(0, answers)], "it asks anew now"
PYTHON
