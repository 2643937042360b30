#!/bin/sh
# Four requests at once at llama.cpp's server with as many slots as it takes by itself (`-np` left out), each of which fits
# the context (xllamacpp 2026.10.11549).
#
# Guess: a slot has its own part of the context, as its documentation has it for `-np 4`; or, where slots share it, a request
#        waits until there is room. A request that does not fit is refused by 400 (`exceed_context_size_error`).
# Seen:  each of the four slots says that it has all of the context, and they share it. When those at work have filled it,
#        not one of them ends or waits: all are given up, by a 500 of type server_error, "Context size has been exceeded.",
#        or by an event of that within a stream that had a 200. Rows that are asked again together meet again, and a row
#        that is tried a few times fails, though each is answered alone. With `-np 4` each has a quarter, and such a prompt
#        is a 400.
# So:    take this 500 for a limit, and send fewer at once; or give the context as many times as there are slots.
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
from concurrent.futures import ThreadPoolExecutor

import gguf
import numpy as np
import xllamacpp

VOCABULARY, WIDTH, INNER, HEADS = 259, 32, 64, 4
CONTEXT, PROMPT, ANSWER = 1024, 300, 200


def letters():
    """The 256 letters that stand for bytes in a byte-level vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + at) for at in range(len(others))]


def make(path):
    """A model of random weights, whose tokens are bytes."""
    chance = np.random.default_rng(7)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
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
    writer.add_token_list(["<s>", "</s>", *letters(), "th"])
    writer.add_token_types([3, 3] + [1] * 257)
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
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


def serve(slots):
    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port = "tiny.gguf", ["127.0.0.1"], 0
    params.n_parallel, params.n_ctx, params.n_gpu_layers, params.warmup = slots, CONTEXT, 0, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    return xllamacpp.Server(params)


def said(server, method, path, body=None):
    host, port = server.listening_address.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=100)
    connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def ask(server, letter, stream=False):
    """The status, and the words of the error, or the number of tokens and why the answer ended."""
    asked = {"prompt": letter * PROMPT, "max_tokens": ANSWER, "ignore_eos": True, "temperature": 0, "stream": stream}
    status, body = said(server, "POST", "/v1/completions", asked)
    last = json.loads([line.removeprefix("data: ") for line in body.splitlines() if line.startswith(("{", "data: {"))][-1])
    if "error" in last:
        return status, last["error"]["message"]
    return status, last["usage"]["completion_tokens"], last["choices"][0]["finish_reason"]


def ask_four(server, stream=False):
    with ThreadPoolExecutor(4) as four:
        return list(four.map(lambda letter: ask(server, letter, stream), "ABCD"))


make("tiny.gguf")
full, whole = "Context size has been exceeded.", (ANSWER, "length")
print("xllamacpp", importlib.metadata.version("xllamacpp"), "a context of", CONTEXT, "prompts of", PROMPT, "answers of", ANSWER)
server = serve(-1)  # as llama-server has it without -np
told = json.loads(said(server, "GET", "/props")[1])
slots, each = told["total_slots"], told["default_generation_settings"]["n_ctx"]
alone = [ask(server, letter) for letter in "ABCD"]
tries = [ask_four(server) for _ in range(5)]
streams = [ask_four(server, stream=True) for _ in range(5)]
print(f"its own choice: {slots} slots, of {each} each; one by one: {alone}")
print("four at once:", *tries, "streamed:", *streams, sep="\n    ")
assert (slots, each) == (4, CONTEXT), "slots have another part of the context"
assert alone == [(200, *whole)] * 4
assert any(outcome == [(500, full)] * 4 for outcome in tries), "not all are given up together any more"
assert any((200, full) in outcome for outcome in streams), "a stream is told otherwise, or waits"
assert {outcome for outcomes in tries + streams for outcome in outcomes} <= {(500, full), (200, full), (200, *whole)}
divided = ask_four(serve(4))
print("-np 4:", divided)
assert {status for status, *_ in divided} == {400}, "each of four slots has more than a quarter of the context"
PYTHON
