#!/bin/sh
# The tokens of log-probs where a stop string was asked for, in llama.cpp's server (xllamacpp 2026.10.11549).
#
# Guess: `logprobs.content` has a token an entry, with the text that it stands for; a stop string that never comes changes
#        nothing.
# Seen:  a token that might begin the stop string has an empty `token`, and its text stands in a later one, before that
#        one's own: with `stop: ["x~"]` the tokens r, x, i are told as r, "", xi. `bytes` goes along; `id` and log-prob stay
#        in their places. Where the stop string comes, letters of the text that were held back are in no token at all.
# So:    with a stop string do not look for a word's log-prob by `token`, nor for a place in the text; go by `id`, or ask
#        without `stop` and cut the text oneself.
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
import string

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
    tokens = ["<s>", "</s>", "<a>", *letters(), "th"]
    writer.add_token_list(tokens)
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
        weights = (chance.standard_normal(shape) * 0.3).astype(np.float32)
        if name == "output":
            weights[[tokens.index(letter) for letter in string.ascii_lowercase]] *= 4  # so that it writes letters
        writer.add_tensor(f"{name}.weight", weights)
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


def ask(**fields):
    """The text, and of each token its id, its text and its log-prob."""
    asked = {"prompt": "Write about tents.", "max_tokens": 12, "temperature": 0, "ignore_eos": True, "logprobs": 1}
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request("POST", "/v1/completions", json.dumps({**asked, **fields}), {"Content-Type": "application/json"})
    (choice,) = json.load(connection.getresponse())["choices"]
    tokens = choice["logprobs"]["content"]
    assert all(bytes(token["bytes"]).decode() == token["token"] for token in tokens)
    return choice["text"], [(token["id"], token["token"], round(token["logprob"], 2)) for token in tokens]


make("tiny.gguf")
server = serve("tiny.gguf")
host, port = server.listening_address.removeprefix("http://").split(":")
text, plain = ask()
held = text[3] + "~"  # it might begin with the fourth letter, and never comes
stop = text[-2:]  # it comes, behind letters that might have begun it
assert held not in text and text[3] != text[4] and text[-4] == text[-3] == stop[0] and text.find(stop) == 10, text
held_text, behind = ask(stop=[held])
stopped_text, stopped = ask(stop=[stop])
print("xllamacpp", importlib.metadata.version("xllamacpp"))
for name, (written, tokens) in {"none": (text, plain), held: (held_text, behind), stop: (stopped_text, stopped)}.items():
    print(f"stop {name}: text {written!r}, tokens", [token for _, token, _ in tokens])
assert [token for _, token, _ in plain] == list(text), "without a stop string a token is not its text"
assert held_text == text, "a stop string that never comes changes the text"
assert [token for _, token, _ in behind] == [*text[:3], "", text[3:5], *text[5:]], "what is held back stands elsewhere now"
assert [(at, logprob) for at, _, logprob in behind] == [(at, logprob) for at, _, logprob in plain], "ids and log-probs move, too"
assert stopped_text == text[:-2] and "".join(token for _, token, _ in stopped) == text[:-4], "none is lost at the end now"
PYTHON
