#!/bin/sh
# Log-probs of mlx_lm.server 0.32.2 (mlx 0.32.4, on the CPU; a model that nearly writes x at each step).
#
# Guess: an entry of `logprobs.content` is the token that was taken, with its log-prob, as its text in `token`; those in
#        `top_logprobs` stand beside it, the likeliest first. A stream has them, too.
# Seen:  with `top_logprobs: 3` an entry is one of the three likeliest, in no order: the answer "One.\nTwo", taken at
#        temperature 0, has entries of x, with its log-prob, and x is not in it. Without `top_logprobs` an entry has the
#        log-prob of the token that was taken, and an id in place of its text. `token` is as the vocabulary has it (Ċ
#        for a line break), there are no `bytes`, the end has an entry of its own, and a stream silently has no
#        log-probs.
# So:    for the log-prob of an answer ask for `logprobs: true` alone, and not in a stream.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'mlx-lm==0.32.2' 'mlx[cpu]==0.32.4' 2>/dev/null
cd "$folder"
HF_HUB_OFFLINE=1 venv/bin/python - 2>server.log <<'PYTHON'
import http.client
import json
import os
import socket
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

ANSWER = ["O", "n", "e", ".Ċ", "T", "w", "o"]  # token by token; Ċ is a line break
WIDTH = 320  # more than there are tokens


def make_model():
    """Makes a model whose next token is told by the last one alone."""
    tokens = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), ".Ċ"]
    at = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=at, merges=[(".", "Ċ")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    tokenizer.save_pretrained("model")
    head = mx.zeros((len(tokens), WIDTH))
    for one, next_one in zip(["!", *ANSWER], [*ANSWER, "</s>"]):
        head[at[next_one], at[one]] = 0.6
        head[at["x"], at[one]] = 0.5
    inner, key = "model.layers.0", {"hidden_size": WIDTH, "intermediate_size": 8, "num_attention_heads": 1}
    weights = {"model.embed_tokens.weight": mx.eye(len(tokens), WIDTH), "lm_head.weight": head}
    weights |= {f"{inner}.self_attn.{name}_proj.weight": mx.zeros((WIDTH, WIDTH)) for name in "qkvo"}
    weights |= {f"{inner}.mlp.{name}_proj.weight": mx.zeros((8, WIDTH)) for name in ("gate", "up")}
    weights |= {f"{inner}.mlp.down_proj.weight": mx.zeros((WIDTH, 8)), "model.norm.weight": mx.ones(WIDTH)}
    weights |= {f"{inner}.{name}_layernorm.weight": mx.ones(WIDTH) for name in ("input", "post_attention")}
    mx.save_safetensors("model/model.safetensors", weights, metadata={"format": "mlx"})
    config = {"model_type": "llama", "vocab_size": len(tokens), "num_hidden_layers": 1, "rms_norm_eps": 1e-6, **key}
    Path("model/config.json").write_text(json.dumps({**config, "tie_word_embeddings": False, "eos_token_id": 1}))


def send(port, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"messages": [{"role": "user", "content": "!"}], "temperature": 0, "logprobs": True, **fields})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read().decode()
    assert answer.status == 200, said
    return said


def whole(port, **fields):
    choice = json.loads(send(port, **fields))["choices"][0]
    return choice["message"]["content"], choice["logprobs"]["content"]


make_model()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
command = ["venv/bin/mlx_lm.server", "--model", "model", "--host", "127.0.0.1", "--port", str(port)]
environment = {**os.environ, "HOME": os.getcwd()}
with open("mlx.log", "w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server:
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert server.poll() is None, "the server did not start"
                time.sleep(0.1)
        text, plain = whole(port)
        _, told = whole(port, top_logprobs=3)
        stream = send(port, top_logprobs=3, stream=True)
    finally:
        server.kill()
print("mlx-lm", version("mlx-lm"), "mlx", version("mlx"))
own = [round(entry["logprob"], 2) for entry in plain]
print(f"{text!r} without top_logprobs: {own}, keys {sorted(plain[0])}")
tokens = [(entry["token"], round(entry["logprob"], 2)) for entry in told]
print(f"with them: {tokens}, keys {sorted(told[0])}")
print("    the first entry's:", [(one["token"], round(one["logprob"], 2)) for one in told[0]["top_logprobs"]])
assert text == "One.\nTwo" and own == [-0.16] * 8 and "token" not in plain[0]
right = [entry["id"] == taken["id"] for entry, taken in zip(told, plain, strict=True)]
print("entries that are the token that was taken:", right)
assert not all(right), "the token that was taken stands there now"
assert all(entry["top_logprobs"][0] == {name: entry[name] for name in ("id", "token", "logprob")} for entry in told)
assert any(taken["id"] in [one["id"] for one in entry["top_logprobs"][1:]] for entry, taken in zip(told, plain))
assert {one["token"] for one in told[3]["top_logprobs"]} >= {".Ċ", "x"} and "bytes" not in told[0]
assert stream.rstrip().endswith("data: [DONE]") and "logprob" not in stream, "a stream has log-probs now"
PYTHON
