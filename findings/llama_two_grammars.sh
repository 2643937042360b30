#!/bin/sh
# One JSON schema in the chats and in the completions of llama.cpp's server, as xllamacpp 2026.10.11549 ships it: built with
# LLGuidance.
#
# Guess: one server makes one grammar of a schema, whichever way it is asked. By its documentation no properties are allowed
#        beyond those named unless the schema says so, and keywords that it does not support are skipped.
# Seen:  that is so in chats (`response_format`); completions (`json_schema`) have their grammar from LLGuidance. There other
#        properties are allowed unless the schema forbids them, and are written. Bounds of fractions and `allOf`, which
#        chats skip, are heeded. But one keyword that LLGuidance does not know (`uniqueItems`, `contains`, `not`, `if`,
#        `dependentRequired`, a `oneOf` whose parts overlap) drops the whole schema: the answer is 200, and free text.
# So:    say `additionalProperties: false`, leave such keywords out of what is sent, and hold each answer against the whole
#        schema: the server does not say that it did not.
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

VOCABULARY, WIDTH, INNER, HEADS = 259, 32, 64, 4
CONTEXT, SEEDS = 1024, range(1, 801, 100)


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


def serve():
    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port = "tiny.gguf", ["127.0.0.1"], 0
    params.n_parallel, params.n_ctx, params.n_gpu_layers, params.warmup = 1, CONTEXT, 0, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    return xllamacpp.Server(params)


def text(path, seed, **fields):
    body = json.dumps({"max_tokens": 150, "temperature": 1.0, "seed": seed, **fields})
    connection = http.client.HTTPConnection(host, int(port), timeout=100)
    connection.request("POST", f"/v1/{path}", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    told = json.load(answer)
    assert answer.status == 200, told
    (choice,) = told["choices"]
    return choice["message"]["content"] if "message" in choice else choice["text"]


def chats(schema):
    forced = {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    return [text("chat/completions", seed, messages=[{"role": "user", "content": "Hi"}], **forced) for seed in SEEDS]


def completions(schema):
    return [text("completions", seed, prompt="Hi", json_schema=schema) for seed in SEEDS]


def value(answer):
    """What the JSON says; None where it is none, or was cut."""
    try:
        return json.loads(answer)
    except ValueError:
        return None


def shown(answers):
    return [answer[:40] for answer in answers[:3]]


OPEN = {"type": "object", "properties": {"a": {"enum": ["yes", "no"]}}, "required": ["a"]}
CLOSED = {**OPEN, "additionalProperties": False}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
BOTH = {"allOf": [{"type": "integer", "minimum": 0, "maximum": 20}, {"type": "integer", "minimum": 10, "maximum": 90}]}
THREE = {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "maxItems": 3}
make("tiny.gguf")
server = serve()
host, port = server.listening_address.removeprefix("http://").split(":")
print("xllamacpp", importlib.metadata.version("xllamacpp"))

only_a = [chats(OPEN), completions(OPEN), completions(CLOSED)]
print("an object with a:", *map(shown, only_a), sep="\n    ")
exact = [sum(value(answer) in ({"a": "yes"}, {"a": "no"}) for answer in answers) for answers in only_a]
assert exact[0] == exact[2] == len(SEEDS) > exact[1], f"other properties are allowed elsewhere now: {exact}"

shares = [chats(SHARE), completions(SHARE)]
print("a number from 0 to 1:", *map(shown, shares), sep="\n    ")
within = [sum(type(value(answer)) in (int, float) and 0 <= value(answer) <= 1 for answer in answers) for answers in shares]
assert within[0] < within[1] == len(SEEDS), f"bounds of fractions are heeded otherwise now: {within}"

both = [chats(BOTH), completions(BOTH)]
print("allOf, 10 to 20:", *map(shown, both), sep="\n    ")
within = [sum(type(value(answer)) is int and 10 <= value(answer) <= 20 for answer in answers) for answers in both]
assert within[0] < within[1] == len(SEEDS), f"allOf is heeded otherwise now: {within}"

for keyword in ({"uniqueItems": True}, {"contains": {"const": "a"}}, {"not": {"const": []}}):
    lists = [chats({**THREE, **keyword}), completions({**THREE, **keyword})]
    print(f"three of a, b, c, and {keyword}:", *map(shown, lists), sep="\n    ")
    made = [sum(isinstance(value(answer), list) and len(value(answer)) == 3 for answer in answers) for answers in lists]
    assert made == [len(SEEDS), 0], f"{keyword} is taken otherwise now: {made}"
assert any(isinstance(value(answer), list) for answer in completions(THREE)), "without the keyword it is no list, either"
PYTHON
