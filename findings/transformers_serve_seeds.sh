#!/bin/sh
# `seed`, `temperature` and `stop` in `transformers serve` (transformers 5.24.0, torch 2.13.0 on the CPU; models of
# random weights, and one that writes what it is told).
#
# Guess: a seed belongs to its request: the same prompt and seed give the same answer, also where other requests wait,
#        since one is generated at a time. A temperature above 0 makes it draw. The text ends before a stop string.
# Seen:  a seed is set when its request comes, for the whole process, and the answer is drawn when its turn comes: of
#        eight requests at once none has the answer that its seed has alone, and eight with one seed have eight answers.
#        One by one they repeat. Where the model's generation_config.json does not say `do_sample`, temperature and seed
#        do nothing: each answer is that of temperature 0. The stop string stands in the text, with all of the token
#        that ended it: with "." the text is "One.\n". All this is answered by 200.
# So:    send one request at a time where a seed must hold; see that the model's generation_config.json says `do_sample:
#        true`; and cut the text at the stop string oneself.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'transformers[serving]==5.24.0' 'torch==2.13.0' 2>/dev/null
cd "$folder"
cat > model.py <<'PYTHON'
"""Makes three models: two of random weights, of which one draws by itself, and one that writes "One.\nTwo"."""
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

tokens = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), ".Ċ"]  # Ċ is a line break
at = {token: number for number, token in enumerate(tokens)}
tokenizer = Tokenizer(models.BPE(vocab=at, merges=[(".", "Ċ")]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
torch.manual_seed(7)
shape = {"vocab_size": len(tokens), "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
model = LlamaForCausalLM(LlamaConfig(hidden_size=320, bos_token_id=0, eos_token_id=1, **shape))
for name, draws in (("plain", False), ("draws", True)):
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=1, do_sample=draws or None)
    model.save_pretrained(name)
    tokenizer.save_pretrained(name)
with torch.no_grad():
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.zero_()
    model.model.embed_tokens.weight[:, : len(tokens)] = torch.eye(len(tokens))
    answer = ["O", "n", "e", ".Ċ", "T", "w", "o"]
    for one, next_one in zip(["!", *answer], [*answer, "</s>"]):
        model.lm_head.weight[at[next_one], at[one]] = 1.0
model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=1)
model.save_pretrained("told")
tokenizer.save_pretrained("told")
PYTHON
HF_HUB_OFFLINE=1 venv/bin/python model.py 2>/dev/null
venv/bin/python - <<'PYTHON' 2>server.log
import http.client
import json
import os
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version

SEEDS = range(1, 9)


@contextmanager
def serving(model):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HOME": os.getcwd()}
    command = ["venv/bin/transformers", "serve", model, "--host", "127.0.0.1", "--port", str(port)]
    with open("serve.log", "w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server:
        try:
            for _ in range(1200):
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert server.poll() is None, "the server did not start"
                    time.sleep(0.1)
            yield lambda prompt="Hi", **fields: ask(port, model, prompt, **fields)
        finally:
            server.kill()


def ask(port, model, prompt, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    asked = {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 20, **fields}
    connection.request("POST", "/v1/chat/completions", json.dumps(asked), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = json.load(answer)
    assert answer.status == 200, said
    return said["choices"][0]["message"]["content"]


def at_once(send, seeds):
    with ThreadPoolExecutor(len(seeds)) as pool:
        return [*pool.map(lambda seed: send(seed=seed), seeds)]


with serving("draws") as send:
    alone = [send(seed=seed) for seed in SEEDS]
    again = [send(seed=seed) for seed in SEEDS]
    together = at_once(send, SEEDS)
    one_seed = at_once(send, [1] * 8)
with serving("plain") as send:
    greedy = send(temperature=0)
    warm = [send(temperature=temperature, seed=seed) for temperature in (0.7, 1.5) for seed in SEEDS]
with serving("told") as send:
    told = {stop: send("!", stop=[stop] if stop else None) for stop in ("", "On", ".")}
print("transformers", version("transformers"), "torch", version("torch"))
print("one by one, twice: the same", alone == again)
print("eight seeds at once: as alone", [one == other for one, other in zip(alone, together)])
print("seed 1, eight times at once:", len(set(one_seed)), "different answers")
print("a model that does not say do_sample, temperatures of 0.7 and 1.5:", len({greedy, *warm}), "answer, that of 0")
print("stop strings:", told)
assert alone == again and len(set(alone)) > 4
assert sum(one == other for one, other in zip(alone, together)) < 4, "a seed belongs to its request now"
assert len(set(one_seed)) > 2, "one seed has one answer now"
assert set(warm) == {greedy}, "a temperature makes it draw now"
assert told == {"": "One.\nTwo", "On": "On", ".": "One.\n"}, "the stop string is taken out now"
PYTHON
