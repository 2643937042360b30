#!/bin/sh
# Requests of different temperatures at `transformers serve --continuous-batching` (transformers 5.24.0, torch 2.13.0 on
# the CPU; a model of random weights).
#
# Guess: `temperature` and `stop` are those of the request that they stand in, as they are without that flag.
# Seen:  the temperature of the first request after the start is everyone's until the server ends. Where it was 0,
#        nothing is ever drawn: any temperature and seed has the answer of 0. Where it was 1.5, temperature 0 gives
#        another answer each time. `stop` is not heeded. `max_tokens` is each request's. All this is answered by 200;
#        its documentation of the flag speaks of throughput and memory alone.
# So:    start it anew for each job, and see that no health check or colleague asks it first; or leave the flag out, and
#        have one answer at a time.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'transformers[serving]==5.24.0' 'torch==2.13.0' 2>/dev/null
cd "$folder"
cat > model.py <<'PYTHON'
"""Makes a model of random weights, whose tokens are bytes."""
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

tokens = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
tokenizer.save_pretrained("model")
torch.manual_seed(7)
shape = {"vocab_size": len(tokens), "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
model = LlamaForCausalLM(LlamaConfig(hidden_size=64, bos_token_id=0, eos_token_id=1, **shape))
model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=1, do_sample=True)
model.save_pretrained("model")
PYTHON
HF_HUB_OFFLINE=1 venv/bin/python model.py 2>/dev/null
venv/bin/python - <<'PYTHON' 2>server.log
import http.client
import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from importlib.metadata import version


@contextmanager
def serving(*flags):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HOME": os.getcwd()}
    command = ["venv/bin/transformers", "serve", "model", "--host", "127.0.0.1", "--port", str(port), *flags]
    with open("serve.log", "w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server:
        try:
            for _ in range(1200):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert server.poll() is None, "the server did not start"
                    time.sleep(0.1)
            yield lambda **fields: ask(port, **fields)
        finally:
            server.kill()


def ask(port, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    asked = {"model": "model", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20, **fields}
    connection.request("POST", "/v1/chat/completions", json.dumps(asked), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = json.load(answer)
    assert answer.status == 200, said
    return said["choices"][0]["message"]["content"], said["usage"]["completion_tokens"]


def three(send, **fields):
    """How many different answers three requests have."""
    return len({send(seed=seed, **fields) for seed in (1, 2, 3)})


BATCHING = "--continuous-batching"
with serving() as send:
    plain = {temperature: three(send, temperature=temperature) for temperature in (0, 1.5)}
with serving(BATCHING) as send:
    greedy, tokens = send(temperature=0)
    cold = {temperature: three(send, temperature=temperature) for temperature in (0, 1.5)}
    letter = next(letter for letter in greedy if letter.isascii())
    stopped = send(temperature=0, stop=[letter])
    short = send(temperature=0, max_tokens=5)
with serving(BATCHING) as send:
    send(temperature=1.5)
    warm = {temperature: three(send, temperature=temperature) for temperature in (0, 1.5)}
print("transformers", version("transformers"), "torch", version("torch"))
print("different answers of three, by temperature, without the flag:", plain)
print("with it, the first request had temperature 0:", cold)
print("with it, the first request had temperature 1.5:", warm)
print(f"with it, stop {letter!r}, which is in the text: the same answer as without: {stopped == (greedy, tokens)}")
print(f"with it, max_tokens 5: {short[1]} tokens")
assert plain == {0: 1, 1.5: 3}
assert cold == {0: 1, 1.5: 1} and warm == {0: 3, 1.5: 3}, "each request has its own temperature now"
assert stopped == (greedy, tokens) and tokens == 20, "a stop string ends it now"
assert short[1] == 5
PYTHON
