#!/bin/sh
# Answers, and requests that fail, in Palimpzest 0.9.0 (`sem_map` and `sem_filter` over rows; litellm 1.110.2, Python 3.12).
#
# Guess: a model's answer is JSON, and is parsed; what stands in a text of it is a text. A row that got no answer is an
#        error, or is at least told from one to which the model said no.
# Seen:  before it is parsed the JSON is mended like a program: each line break in a text becomes a space, and from "//" to
#        the end of the line all is taken for a comment, unless "http:" or "https:" stands before it. So "a(); // adds
#        one\nb();" is "a();  b();". Where the line ends within a later text, this field goes on in that one's words: of
#        {"note": "see s3://shop/list", "code": "x\ny"} the note is "see s3: y", and there is no code. Where nothing is
#        left that can be parsed ("was 4 // now 3", "C:\_new", a text in which "Context:" stands), each field is asked for
#        once more, and is null. In a filter "true" anywhere in the answer is a yes: "ANSWER: FALSE. Nothing shows that it
#        is true." passes. A request that fails (500, a refusal by 400) is a no, as is an answer that was cut before it
#        said anything, or an empty one: the row is gone. With its vLLM model no request is sent at all; each row is a
#        no, in a map null. Nothing raises, and the result is whole by its looks. The reasons go to a log that is shown
#        nowhere unless one asks for it.
# So:    `logging.basicConfig()` before, and look for "Error generating completion" and "Error parsing answers"; look into
#        `parse-answer-errors/`; count the nulls. Ask for texts without line breaks and slashes, or ask by other means.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for python in "${PYTHON:-python3}" python3.12 python3.13 python3.14 "$HOME"/.pyenv/versions/3.1[2-4].*/bin/python3; do
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && break
done
"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile litellm==1.110.2 openai==3.57.0 chromadb==1.5.9 numpy==2.0.2 \
    pandas==2.3.3 smolagents==1.26.0 anthropic==2.14.0 together==3.1.1 tiktoken==0.14.0 'pydantic>=2' 'rich<15' requests regex \
    python-dotenv pypdf PyLD colorama beautifulsoup4 pillow prettytable psutil tqdm tabulate fastapi 2>/dev/null
"$folder/venv/bin/python" -m pip install --quiet --no-compile --no-deps palimpzest==0.9.0 2>/dev/null
cd "$folder"
echo 'SentenceTransformer = None  # joins by embeddings use it, and nothing here does; it would need torch' > sentence_transformers.py
HOME=$folder PYTHONPATH=$folder LITELLM_LOCAL_MODEL_COST_MAP=True ANONYMIZED_TELEMETRY=False \
    venv/bin/python -W ignore - <<'PYTHON'
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

asked = []  # the rows that were asked for since the last run
answers = {}  # by row: a text, or a status of an error, or a text that is cut


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = "\n".join(message["content"] for message in request["messages"])
        row = next(row for row in answers if row in prompt)
        asked.append(row)
        answer, reason = answers[row] if isinstance(answers[row], tuple) else (answers[row], "stop")
        status, body = 200, {"error": {"message": "no", "type": "no", "code": None}}
        if isinstance(answer, int):
            status = answer
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": reason}
            body = {"id": "1", "object": "chat.completion", "created": 1, "model": request["model"], "choices": [choice]}
            body["usage"] = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
base = f"http://127.0.0.1:{server.server_address[1]}/v1"
os.environ |= {"OPENAI_API_KEY": "none", "OPENAI_API_BASE": base, "OPENAI_BASE_URL": base}
import palimpzest as pz  # noqa: E402: it looks at the variables
from palimpzest.constants import Model  # noqa: E402

FIELDS = [{"name": name, "type": str, "desc": f"the {name}"} for name in ("note", "code")]


def run(step, said, model=Model.GPT_4o_MINI):
    """The rows that come out when `said` is answered to each of them, and how often was asked."""
    asked.clear()
    answers.clear()
    answers.update(said)
    rows = pz.MemoryDataset(
        id="rows", vals=[{"row": row} for row in said], schema=[{"name": "row", "type": str, "desc": "a row"}]
    )
    rows = rows.sem_filter("It is sweet") if step == "filter" else rows.sem_map(FIELDS)
    settings = {"policy": pz.MaxQuality(), "available_models": [model], "execution_strategy": "sequential"}
    out = rows.run(pz.QueryProcessorConfig(**settings, progress=False)).to_df()
    return out.to_dict("records"), len(asked)


def mapped(**fields):
    (row,), times = run("map", {"apple": f"ANSWER:\n{json.dumps(fields)}\n---"})
    print(f"an answer of {fields} is {row['note']!r}, {row['code']!r}; asked {times} times")
    return row["note"], row["code"], times


print("palimpzest", version("palimpzest"), "litellm", version("litellm"))
assert mapped(note="see http://shop/list", code="x") == ("see http://shop/list", "x", 1)
assert mapped(note="Milk\nBread", code="x") == ("Milk Bread", "x", 1), "line breaks stay now"
assert mapped(note="sum", code="a(); // adds one\nb();") == ("sum", "a();  b();", 1), "what follows // stays now"
assert mapped(note="see s3://shop/list", code="x\ny")[:2] == ("see s3: y", None), "fields stay apart now"
for lost in ("was 4 // now 3", "C:\\_new", "One. Context: two."):
    assert mapped(note=lost, code="x") == (None, None, 3), "such a text is kept now"

SAID = {
    "apple": "ANSWER: TRUE\n---",
    "lemon": "ANSWER: FALSE\n---",
    "onion": "ANSWER: FALSE. Nothing shows that it is true.\n---",
    "peach": 500,
    "melon": 400,
    "mango": ("REASONING: A mango is", "length"),
    "grape": "",
}
passed, times = run("filter", SAID)
passed = [row["row"] for row in passed]
print(f"a filter over {json.dumps(SAID)}: {passed} passed")
assert "onion" in passed, "a no that speaks of truth is a no now"
assert passed == ["apple", "onion"], "what failed is told from a no now"
local = Model.VLLM_QWEN_1_5_0_5B_CHAT
filtered, mapped_rows = run("filter", {"apple": "ANSWER: TRUE"}, local), run("map", {"apple": "ANSWER: TRUE"}, local)
print("with its vLLM model a filter gives", filtered, "and a map", mapped_rows)
assert filtered == ([], 0), "vLLM is asked now"
assert mapped_rows == ([{"row": "apple", "note": None, "code": None}], 0), "vLLM is asked now"
PYTHON
