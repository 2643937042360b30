#!/bin/sh
# `usage` of llama.cpp's server (xllamacpp 2026.10.11549) where a request asks for several answers (`n: 2`).
#
# Guess: `completion_tokens` counts all answers, as OpenAI has it, and a stream ends with one `usage`.
# Seen:  it counts one of them. A stream has a `usage` after each choice, each of that choice alone, before `[DONE]`; also,
#        the connection is closed after a stream, though `Keep-Alive: timeout=5, max=100` was said, and kept otherwise.
# So:    with n, its counts say less than was made: send a row for each answer. A client must be ready for the close.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'xllamacpp==2026.10.11549' 'gguf==0.19.0' 'numpy<3'
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON' 2>server.log
import http.client
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
    params.n_parallel, params.n_ctx, params.n_gpu_layers, params.warmup = 2, 1024, 0, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    return xllamacpp.Server(params)


def ask(connection, **fields):
    """The answer's bytes, and whether the connection stays."""
    asked = {"messages": [{"role": "user", "content": "Write about tents."}], "max_tokens": 5, "ignore_eos": True}
    connection.request("POST", "/v1/chat/completions", json.dumps({**asked, **fields}), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    assert answer.headers["Keep-Alive"] == "timeout=5, max=100" and answer.headers["Connection"] is None
    data = answer.read()
    connection.sock.settimeout(2)
    try:
        stays = connection.sock.recv(1) != b""
    except TimeoutError:
        stays = True
    return data, stays


make("tiny.gguf")
server = serve("tiny.gguf")
host, port = server.listening_address.removeprefix("http://").split(":")


def connect():
    return http.client.HTTPConnection(host, int(port), timeout=60)


whole, whole_stays = ask(connect(), n=2)
streamed, stream_stays = ask(connect(), n=2, stream=True, stream_options={"include_usage": True})
answer = json.loads(whole)
print("whole: choices", len(answer["choices"]), "of 5 tokens each; completion_tokens", answer["usage"]["completion_tokens"])
events = [json.loads(line[6:]) for line in streamed.split(b"\n") if line.startswith(b"data: {")]
counts = [event["usage"]["completion_tokens"] for event in events if event.get("usage")]
print("streamed: completion_tokens of each usage", counts)
print("the connection stays after a whole answer:", whole_stays, "- after a stream:", stream_stays)
assert (len(answer["choices"]), answer["usage"]["completion_tokens"]) == (2, 5), "it counts otherwise now"
assert counts == [5, 5], "a stream counts otherwise now"
assert (whole_stays, stream_stays) == (True, False), "it closes otherwise now"
PYTHON
