#!/bin/sh
# What spacy-llm 0.7.4 (spacy 3.8.18) keeps as the answer to a text in its BatchCache, and for which texts.
#
# Guess: an answer is kept by the text, and handed out for the same text. Its documentation: the cache is there "to
#        avoid reprocessing the same documents at each run", and refuses another prompt template. Other labels and
#        another model are asked anew.
# Seen:  a text is known by the sum of its words: their order does not count. After "The dog bit the man." nothing is
#        asked for "The man bit the dog.", and what comes out of `nlp.pipe` is the document of the first text, its words
#        too, with its labels, in the second one's place; with `as_tuples` under the second one's id. Nor do labels and
#        their definitions count, nor the model, its address or its temperature: the template is compared as it is
#        before anything is filled in. Where the labels are REFUND and OTHER now, a text still has COMPLAINT. No error,
#        no warning.
# So:    leave `path` out, or give each wording and each model a folder of its own; and compare each document's text
#        with the one that was sent. Texts that are made of the same parts in another order (pairs that are compared,
#        lists of options, tables) need a cache of one's own, by the whole prompt.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'spacy-llm==0.7.4' 'spacy==3.8.18' 2>/dev/null
cd "$folder"
AZURE_OPENAI_KEY=none venv/bin/python -W ignore - <<'PYTHON'
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import spacy


class Server(BaseHTTPRequestHandler):
    """Says of a text in which a dog bites that it is a complaint, of any other that it is praise."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        asked.append(prompt)
        message = {"role": "assistant", "content": "COMPLAINT" if "dog bit the" in prompt else "PRAISE"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        said = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def pipeline(url, path, labels="COMPLAINT,PRAISE", model="m", temperature=0.0, **task):
    nlp = spacy.blank("en")
    # Of its ways to ask a server, Azure's alone takes an address and asks no other host when it is made.
    way = {"@llm_models": "spacy.Azure.v1", "deployment_name": model, "name": model, "model_type": "chat"}
    config = {
        "task": {"@llm_tasks": "spacy.TextCat.v3", "labels": labels, "exclusive_classes": True, **task},
        "model": {**way, "base_url": url, "config": {"temperature": temperature}},
        "cache": {"@llm_misc": "spacy.BatchCache.v1", "path": path, "batch_size": 2, "max_batches_in_mem": 4},
    }
    nlp.add_pipe("llm", config=config)
    asked.clear()  # it has asked for "test"
    return nlp


def run(nlp, texts):
    """A text and its best label for each row that comes out, by the row's id, and how often the server was asked."""
    said = {row: (doc.text, max(doc.cats, key=doc.cats.get)) for doc, row in nlp.pipe(texts, as_tuples=True)}
    return said, len(asked)


def serve():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


asked = []
first, second = serve(), serve()
dog, man, fine = "The dog bit the man.", "The man bit the dog.", "Fine weather today."
rows = [(dog, "row 0"), (fine, "row 1")]
turned = [(man, "row 2"), (fine, "row 1")]
defined = {"label_definitions": {"COMPLAINT": "an animal is hurt", "PRAISE": "anything else"}}
seen = {
    "first run": run(pipeline(first, "cache"), rows),
    "without a cache, words turned round": run(pipeline(first, None), turned),
    "words turned round": run(pipeline(first, "cache"), turned),
    "other labels": run(pipeline(first, "cache", labels="REFUND,OTHER"), rows),
    "labels with definitions": run(pipeline(first, "cache", **defined), rows),
    "other server": run(pipeline(second, "cache"), rows),
    "other model": run(pipeline(first, "cache", model="large"), rows),
    "other temperature": run(pipeline(first, "cache", temperature=1.0), rows),
}
print("spacy-llm", version("spacy-llm"), "spacy", version("spacy"))
for name, (said, times) in seen.items():
    print(f"{name}: asked {times} times: {said}")
right = {"row 0": (dog, "COMPLAINT"), "row 1": (fine, "PRAISE")}
assert seen["first run"] == (right, 2)
assert seen["without a cache, words turned round"] == ({"row 2": (man, "PRAISE"), "row 1": (fine, "PRAISE")}, 2)
mixed = {"row 2": (dog, "COMPLAINT"), "row 1": (fine, "PRAISE")}
assert seen["words turned round"] == (mixed, 0), "the order of words counts now"
for name in ("other labels", "labels with definitions", "other server", "other model", "other temperature"):
    assert seen[name] == (right, 0), f"{name} count now"
PYTHON
