#!/bin/sh
# Flows of Red Hat's sdg_hub 0.9.4 with a `checkpoint_dir` that are started again: with the same rows, with another
# prompt and model, and with a frame that was shuffled.
#
# Guess: what has an answer is not asked again, and everything else is. Rows are told apart by what stands in them; its
#        own words for what is left are "samples from input_dataset that are not in completed_dataset". Another prompt
#        or model is asked anew.
# Seen:  rows are compared with what pandas makes of the checkpoint's JSON. The id "0001" is 1 there, a time another
#        time, and a null is not a null: such rows are new at each start. They are asked and paid for again, and stand
#        in the result once more, beside the old ones, whose ids are 1 and 2 now. Where no cell is changed so, it is the
#        opposite: neither prompt nor model counts, only the flow's name, and the old answers come for everything. The
#        rows that are left are found by their index, and taken by their place: of a frame that was shuffled, sorted or
#        filtered, others are asked. Those that have an answer are paid for and returned twice, those that have none are
#        missing. No error and no warning. A row that is refused (400) is asked seven times, and ends the run; of its
#        chunk of `save_freq` rows all answers are lost.
# So:    `frame.reset_index(drop=True)` before it; texts that do not read like numbers or times, and no nulls; a new
#        `checkpoint_dir` for each wording and each model; and compare the rows that come out with those that went in.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'sdg-hub==0.9.4' 2>/dev/null
cd "$folder"
HOME=$folder LITELLM_LOCAL_MODEL_COST_MAP=True TQDM_DISABLE=1 venv/bin/python - <<'PYTHON'
import json
import shutil
import threading
from collections import Counter
from contextlib import redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from io import StringIO
from pathlib import Path

import pandas as pd
from sdg_hub import Flow

FLOW = """
metadata: {name: Answers}
blocks:
  - block_type: PromptBuilderBlock
    block_config: {block_name: build, input_cols: [text], output_cols: messages, prompt_config_path: prompt.yaml}
  - block_type: LLMChatBlock
    block_config: {block_name: ask, input_cols: messages, output_cols: raw, async_mode: true}
  - block_type: LLMResponseExtractorBlock
    block_config: {block_name: take, input_cols: raw, extract_content: true}
"""
asked = []  # the prompts that came since `run` began
refused = set()  # prompts that are answered by 400


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = request["messages"][-1]["content"]
        asked.append(prompt)
        message = {"role": "assistant", "content": f"{request['model']}: {prompt}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
        if prompt in refused:
            answer = {"error": {"message": "no", "type": "no", "code": "no"}}
        body = json.dumps(answer).encode()
        self.send_response(400 if prompt in refused else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
BASE = f"http://127.0.0.1:{server.server_address[1]}/v1"


def run(frame, language="English", model="small", save_freq=2):
    """What was asked, how often each, and the frame that comes out. The flow is read anew, as by a new program."""
    asked.clear()
    Path("prompt.yaml").write_text(f"- role: user\n  content: '{language} {{{{ text }}}}'\n")
    Path("flow.yaml").write_text(FLOW)
    with redirect_stdout(StringIO()) as said:
        flow = Flow.from_yaml("flow.yaml")
        flow.set_model_config(model=f"openai/{model}", api_base=BASE, api_key="none")
        try:
            result = flow.generate(frame, checkpoint_dir="checkpoint", save_freq=save_freq)
        except Exception as error:  # the flow's own
            result = error
    assert "INFO" in said.getvalue(), "its log is elsewhere now"
    assert "WARNING" not in said.getvalue(), "a warning tells now"
    return dict(Counter(asked)), result


def anew():
    shutil.rmtree("checkpoint", ignore_errors=True)


def once(language, texts):
    return {f"{language} {text}": 1 for text in texts}


print("sdg-hub", version("sdg-hub"))
REREAD = {
    "ids with zeros in front": pd.DataFrame({"id": ["0001", "0002"], "text": ["a", "b"]}),
    "times": pd.DataFrame({"at": pd.to_datetime(["2026-01-31", "2026-02-01"]), "text": ["a", "b"]}),
    "a null in each row": pd.DataFrame({"score": [float("nan")] * 2, "text": ["a", "b"]}),
}
for name, frame in REREAD.items():
    anew()
    first, _ = run(frame)
    again, result = run(frame)
    print(f"{name}: asked {sum(first.values())}, then {sum(again.values())}; rows in the result: {len(result)} of 2")
    assert first == again == once("English", "ab"), "such rows are known now"
    assert len(result) == 4, "and stand in the result once"
    if "id" in frame:
        print("  ids:", result["id"].tolist())
        assert result["id"].tolist() == [1, 2, "0001", "0002"], "ids stay as they are now"

anew()
frame = pd.DataFrame({"text": ["a", "b"]})
run(frame)
changed, result = run(frame, language="German", model="large")
print(f"another prompt and model: asked {len(changed)}; answers: {result['take_content'].tolist()}")
assert not changed, "it is asked anew now"
assert result["take_content"].tolist() == ["small: English a", "small: English b"]

anew()
frame = pd.DataFrame({"text": list("abcdef")})
run(frame.head(2))
shuffled, result = run(frame.iloc[::-1])
texts = sorted(result["text"])
print(f"a, b have answers; then f to a, turned round: asked {sorted(shuffled)}; rows in the result: {texts}")
assert shuffled == once("English", "abcd"), "the rows that are left are asked now"
assert texts == ["a", "a", "b", "b", "c", "d"], "the result has each row once now"

anew()
refused.add("English d")
failed, error = run(frame, save_freq=3)
refused.clear()
again, result = run(frame, save_freq=3)
print(f"d is refused: asked {failed['English d']} times; asked again in the next run: {sorted(again)}")
assert isinstance(error, Exception) and failed["English d"] == 7, "one refusal is one request now"
assert again == once("English", "def") and failed["English e"] == failed["English f"] == 1, "the others are kept now"
PYTHON
