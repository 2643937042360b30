#!/bin/sh
# Stop strings in mlx_lm.server 0.32.2 (mlx 0.32.4, on the CPU; a model that writes what it is told).
#
# Guess: generation ends at a stop string, and the text is what stands before it; one that never comes changes nothing.
#        Its documentation: "sequences of tokens on which the generation should stop".
# Seen:  it ends where the model writes the very tokens that the stop string is by itself. Where it does not, as where
#        ".\n" is one token and the stop string is "\n", the answer goes on to its end, and all stop strings are taken
#        out of it: "One.\nTwo" is "One.Two", with finish_reason stop, and nothing tells. Where an answer ends with what
#        might begin a stop string, that is dropped: with "##" the answer "C#" is "C". Whole and streamed alike.
# So:    ask it without `stop`, and cut the text oneself. Lines and words that ran together cannot be told apart later.
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

ANSWERS = {"?": ["C", "#"], "!": ["O", "n", "e", ".Ċ", "T", "w", "o"]}  # by prompt, token by token; Ċ is a line break
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
    for prompt, answer in ANSWERS.items():
        for one, next_one in zip([prompt, *answer], [*answer, "</s>"]):
            head[at[next_one], at[one]] = 1.0
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
    connection.request("POST", "/v1/chat/completions", json.dumps(fields), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read().decode()
    assert answer.status == 200, said
    return said


def whole(port, prompt, **fields):
    """The text, why it ended, and how many tokens were made."""
    said = json.loads(send(port, messages=[{"role": "user", "content": prompt}], **fields))
    choice = said["choices"][0]
    return choice["message"]["content"], choice["finish_reason"], said["usage"]["completion_tokens"]


def streamed(port, prompt, **fields):
    said = send(port, messages=[{"role": "user", "content": prompt}], stream=True, **fields)
    events = [json.loads(line[6:]) for line in said.split("\n") if line.startswith("data: {")]
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in events)


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
        asked = [("!", None), ("!", ["\n"]), ("!", ["T"]), ("?", None), ("?", ["##"])]
        said = {
            (prompt, *(stop or [])): (whole(port, prompt, stop=stop), streamed(port, prompt, stop=stop))
            for prompt, stop in asked
        }
    finally:
        server.kill()
print("mlx-lm", version("mlx-lm"), "mlx", version("mlx"))
for (prompt, *stop), ((text, reason, tokens), stream) in said.items():
    print(f"stop {stop}: {text!r}, {reason}, {tokens} tokens; streamed {stream!r}")
assert said["!",] == (("One.\nTwo", "stop", 8), "One.\nTwo")
assert said["!", "T"] == (("One.\n", "stop", 5), "One.\n"), "it does not stop at a token any more"
assert said["!", "\n"] == (("One.Two", "stop", 8), "One.Two"), "it stops now within a token"
assert said["?",] == (("C#", "stop", 3), "C#")
assert said["?", "##"] == (("C", "stop", 3), "C"), "the end of an answer is kept now"
PYTHON
