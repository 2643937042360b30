#!/bin/sh
# Runs of datatrove's InferenceRunner 0.10.1 with `checkpoints_local_dir` that are started again, for a few documents
# more, or with another prompt (by LocalPipelineExecutor, each start with a `logging_dir` of its own, as by default; the
# server is of its type `endpoint`).
#
# Guess: what has an answer is not asked again, and everything else is. Its documentation: failed tasks resume "from
#        the last finished chunk", and each request is known by a hash of its payload, "so completed generations are
#        never re-sent". A document has an id, and another prompt another payload.
# Seen:  documents of finished chunks are skipped by their place, by as many as the chunks would hold if they were full.
#        The last one of a run seldom is. After five documents in chunks of two, six are skipped: a sixth that is there
#        now is never asked; with a seventh, that one is, and the sixth is not. With chunks of 6,000, the default,
#        nothing is asked for up to 5,995 more. A document that is new in front is not asked, and one behind it is asked
#        and paid for again, and stands in the result twice. In a chunk that was broken off documents are skipped by
#        their id alone: what had an answer keeps it, and the others are asked by the new prompt, model and temperature.
#        No error; the log says "Will skip 6 already processed documents" where there were five.
# So:    a new `checkpoints_local_dir` for each input and each wording, and never one that has a `last_chunk` for more
#        documents; append new ones as a run of their own. Compare the ids in the result with those that went in.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'datatrove==0.10.1' 'orjson==3.13.0' 'aiofiles==25.1.0' \
    'httpx==0.28.1' 'aiosqlite==0.22.1' 'xxhash==3.8.2' 2>/dev/null
cd "$folder"
HF_HUB_OFFLINE=1 HOME="$folder" venv/bin/python - 2>errors.txt <<'PYTHON' || { tail -5 errors.txt; exit 1; }
import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.inference.run_inference import InferenceConfig, InferenceRunner
from datatrove.pipeline.writers import JsonlWriter

asked, refused = [], set()
starts = itertools.count()


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.say(200, {"object": "list", "data": []})

    def do_POST(self):
        prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        asked.append(prompt)
        if refused & set(prompt.split()):
            self.say(400, {"error": {"message": "too long", "type": "invalid_request_error", "code": None}})
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": f"to {prompt}"}, "finish_reason": "stop"}
            self.say(200, {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})

    def say(self, status, said):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def run(job, documents, chunk, prompt="Translate", model="m", temperature=0, without=()):
    """What a start of the job asked, all that its result holds by then, and what its log says of skipping."""
    asked.clear()
    refused.clear()
    refused.update(without)

    async def rollout(document, generate):
        return (await generate({"messages": [{"role": "user", "content": f"{prompt} {document.text}"}]})).text

    config = InferenceConfig(
        server_type="endpoint", endpoint_url=url, model_name_or_path=model, max_concurrent_generations=1,
        default_generation_params={"temperature": temperature})
    writer = JsonlWriter(f"{job}/out", output_filename="${rank}_${chunk_index}.jsonl", compression=None)
    runner = InferenceRunner(rollout, config, writer, checkpoints_local_dir=f"{job}/kept", records_per_chunk=chunk)
    log = Path(f"{job}/log{next(starts)}")
    pipeline = [[Document(text=text, id=text) for text in documents.split()], runner]
    try:
        LocalPipelineExecutor(pipeline, logging_dir=str(log)).run()
    except Exception as error:
        assert without, error
    lines = [json.loads(line) for path in sorted(Path(f"{job}/out").glob("*.jsonl")) for line in path.open()]
    skips = [line for path in log.glob("logs/*.log") for line in path.open() if "Will skip" in line]
    result = [line["metadata"]["rollout_results"][0] for line in lines]
    return list(asked), result, [line.split(" - ")[-1].strip() for line in skips]


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_address[1]}"
seen = {
    "five, chunks of two": run("a", "q0 q1 q2 q3 q4", 2),
    "a sixth": run("a", "q0 q1 q2 q3 q4 q5", 2),
    "a seventh": run("a", "q0 q1 q2 q3 q4 q5 q6", 2),
    "five, chunks of 6,000": run("b", "q0 q1 q2 q3 q4", 6000),
    "three more": run("b", "q0 q1 q2 q3 q4 q5 q6 q7", 6000),
    "broken off at q3": run("c", "q0 q1 q2 q3 q4", 2, without=["q3"]),
    "a new one in front": run("c", "new q0 q1 q2 q3 q4", 2),
    "broken off at q3, chunks of 6,000": run("d", "q0 q1 q2 q3 q4", 6000, without=["q3"]),
    "all else is changed": run("d", "q0 q1 q2 q3 q4", 6000, prompt="Shorten", model="large", temperature=1),
}
print("datatrove", version("datatrove"))
for name, (sent, result, skips) in seen.items():
    print(f"{name}: asked {sent}; the result: {result}; the log: {skips}")
five = [f"to Translate q{number}" for number in range(5)]
assert seen["five, chunks of two"][:2] == ([f"Translate q{number}" for number in range(5)], five)
assert seen["a sixth"] == ([], five, [seen["a sixth"][2][0]]), "a sixth is asked now"
assert "Will skip 6 already processed documents" in seen["a sixth"][2][0], "the log counts otherwise now"
assert seen["a seventh"][:2] == (["Translate q6"], [*five, "to Translate q6"]), "the sixth is asked now"
assert seen["three more"][:2] == ([], five), "a chunk that is not full is not taken for full any more"
again = ["Translate q1", "Translate q3", "Translate q4"]
assert seen["a new one in front"][0] == again, "documents are skipped by something else than their place now"
assert sorted(seen["a new one in front"][1]) == sorted([*five, "to Translate q1"]), "no document stands twice now"
mixed = [*five[:3], "to Shorten q3", "to Shorten q4"]
assert seen["all else is changed"][:2] == (["Shorten q3", "Shorten q4"], mixed), "another prompt is asked anew now"
PYTHON
