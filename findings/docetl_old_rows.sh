#!/bin/sh
# A pipeline of DocETL 0.3.0 with an `intermediate_dir`, as its tutorial has it, whose input file has other rows than
# the last time; and texts that `max_tokens` cut.
#
# Guess: what a step made is used again where nothing changed that it depends on. An edited prompt is asked anew. The
#        rows are what it is run for; its own words for what is compared are "everything that determines its output".
#        An answer that was cut is an error, as half a JSON is one, or is at least not kept.
# Seen:  of an input file the path counts, and nothing that is in it. With tonight's rows in the same file nothing is
#        asked; the output, written tonight, has last night's rows with their answers, and the exit code is 0. A line
#        says "Loaded checkpoint". Without `intermediate_dir` each row is asked that has not been. Where the output is
#        one text, half a text is one: `finish_reason: length` is not looked at, and it is kept in the home directory,
#        for all later pipelines. There the server's address does not count: with another `OPENAI_API_BASE` nothing is
#        asked, and the first server's answers come.
# So:    leave `intermediate_dir` out, or name it by a hash of the input; compare the rows of the output with those of
#        the input; `docetl clear-cache` before another server is asked; and look for texts that do not end.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'docetl==0.3.0' 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import yaml

asked = []  # the prompts that came since `run` began


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name = "first"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = request["messages"][-1]["content"]
        asked.append(prompt.split()[-1])
        cut = request.get("max_tokens") == 5
        message = {"role": "assistant", "content": "Half of" if cut else f"{self.name}: {prompt}"}
        choice = {"index": 0, "message": message, "finish_reason": "length" if cut else "stop"}
        usage = {"usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]} | usage
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Second(Server):
    name = "second"


def serve(handler):
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


first, second = serve(Server), serve(Second)
TOKENIZERS = Path(find_spec("litellm").origin).parent / "litellm_core_utils/tokenizers"  # without them they are fetched


def run(rows, verb="Sum up", intermediate=True, base=first, **settings):
    """The rows that are asked, those of the output, their answers, and what DocETL printed."""
    asked.clear()
    Path("rows.json").write_text(json.dumps([{"row": row} for row in rows]))
    step = {"name": "sum_up", "type": "map", "prompt": f"{verb} {{{{ input.row }}}}"}
    output = {"type": "file", "path": "out.json", **({"intermediate_dir": "intermediate"} if intermediate else {})}
    job = {
        "datasets": {"rows": {"type": "file", "path": "rows.json"}},
        "default_model": "openai/m",
        "operations": [step | {"output": {"schema": {"text": "string"}}} | settings],
        "pipeline": {"steps": [{"name": "one", "input": "rows", "operations": ["sum_up"]}], "output": output},
    }
    Path("job.yaml").write_text(yaml.safe_dump(job))
    Path("out.json").unlink(missing_ok=True)
    places = {"HOME": os.getcwd(), "TIKTOKEN_CACHE_DIR": str(TOKENIZERS), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    keys = {"OPENAI_API_KEY": "none", "OPENAI_API_BASE": base}
    command = ["venv/bin/docetl", "run", "job.yaml"]
    ended = subprocess.run(command, env=os.environ | places | keys, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    written = json.loads(Path("out.json").read_text())
    return sorted(asked), [row["row"] for row in written], [row["text"] for row in written], ended.stdout


print("docetl", version("docetl"))
asked_for, rows, texts, _ = run(["a", "b"])
print("last night, rows a and b: asked", asked_for, texts)
assert asked_for == rows == ["a", "b"]
asked_for, rows, texts, said = run(["c", "d", "e"])
print("tonight, rows c, d and e in the same file: asked", asked_for, texts)
assert (asked_for, rows) == ([], ["a", "b"]), "other rows are noticed now"
assert "Loaded checkpoint" in said
asked_for, rows, _, _ = run(["c", "d", "e"], verb="Shorten")
print("another prompt: asked", asked_for)
assert asked_for == rows == ["c", "d", "e"], "another prompt is not noticed any more"
asked_for, rows, _, _ = run(["b", "c"], intermediate=False)
print("without intermediate_dir, rows b and c: asked", asked_for)
assert (asked_for, rows) == (["c"], ["b", "c"]), "rows are not asked one by one any more"

limit = {"litellm_completion_kwargs": {"max_tokens": 5}}
asked_for, _, texts, said = run(["f"], intermediate=False, **limit)
print("row f with max_tokens 5: asked", asked_for, texts)
assert (asked_for, texts) == (["f"], ["Half of"]) and "length" not in said, "a cut text is told of now"
asked_for, _, texts, _ = run(["f"], intermediate=False, base=second, **limit)
print("row f with max_tokens 5 at another server: asked", asked_for, texts)
assert (asked_for, texts) == ([], ["Half of"]), "a cut text is not kept now, or the address counts"
PYTHON
