#!/bin/sh
# Stop strings in Modular's MAX 26.7.0 (`max serve`, on the CPU, with the model of its own that writes the prompt anew,
# MAX_SERVE_DUMMY_MODEL).
#
# Guess: the text ends before the stop string, be it a chat or a completion, whole or a stream. It speaks OpenAI's API, whose
#        words for `stop` are: "The returned text will not contain the stop sequence."
# Seen:  so it is in a whole chat alone. A completion, whole or streamed, and a streamed chat end there, too, with
#        finish_reason stop, but the stop string stands in the text, and behind it what the model wrote in the same step:
#        with "##" the text is "One.##Two". Such a text is longer than the chat's, and no field tells. `n: 2` is one answer.
# So:    cut the text at the stop string oneself, in each of the four; or ask for whole chats.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'max==26.7.0' 2>/dev/null
# What `max[serve]` asks for cannot be had at once: it wants older parts of OpenTelemetry beside a newer protobuf.
"$folder/venv/bin/python" -m pip install --quiet 'transformers<5.13' 'protobuf<6.34,>=6.33.5' 'opentelemetry-sdk<1.36' \
    'httpx<0.29' 'sse-starlette<2.2' jinja2 jsonschema requests openai prometheus-client pillow pydantic-settings pyyaml \
    tiktoken aiofiles asgiref av fastapi gguf grpcio python-json-logger pyzmq regex scipy sentencepiece uvicorn uvloop \
    safetensors 2>/dev/null
"$folder/venv/bin/python" -m pip install --quiet --no-deps 'opentelemetry-exporter-otlp-proto-grpc==1.35.0' \
    'opentelemetry-exporter-otlp-proto-http==1.35.0' 'opentelemetry-exporter-otlp-proto-common==1.35.0' \
    'opentelemetry-proto==1.35.0' 'opentelemetry-exporter-prometheus==0.56b0' googleapis-common-protos 2>/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

SAID = "One.##Two"


def write_model():
    """A folder with a small model, which is looked at and not run."""
    tokens = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    Path("model").mkdir()
    tokenizer.save("model/tokenizer.json")
    chat = {"chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}", "bos_token": "<s>", "eos_token": "</s>"}
    Path("model/tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **chat}))
    size, inner = 128, 256
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": len(tokens), "hidden_size": size,
        "intermediate_size": inner, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
        "head_dim": 64, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "rope_scaling": None, "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "float32",
        "bos_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    Path("model/config.json").write_text(json.dumps(config))
    layer = "model.layers.0."
    shapes = {f"{layer}self_attn.{name}_proj.weight": (size, size) for name in "qkvo"}
    shapes |= {f"{layer}mlp.{name}_proj.weight": (inner, size) for name in ("gate", "up")}
    shapes |= {f"{layer}mlp.down_proj.weight": (size, inner), "lm_head.weight": (len(tokens), size)}
    shapes |= {f"{layer}{name}_layernorm.weight": (size,) for name in ("input", "post_attention")}
    shapes |= {"model.norm.weight": (size,), "model.embed_tokens.weight": (len(tokens), size)}
    save_file({name: np.ones(shape, np.float32) for name, shape in shapes.items()}, "model/model.safetensors", {"format": "pt"})


def ask(port, path, **fields):
    """The body of an answer to the prompt SAID."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    prompt = {"messages": [{"role": "user", "content": SAID}]} if "chat" in path else {"prompt": SAID}
    body = json.dumps({"model": "model", "max_tokens": 50, **prompt, **fields})
    connection.request("POST", f"/v1/{path}", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read().decode()
    assert answer.status == 200, said
    return said


def told(body):
    """The text and the finish reason of a body, whole or streamed."""
    parts = [json.loads(body)] if body.startswith("{") else [
        json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")
    ]
    choices = [choice for part in parts for choice in part["choices"]]
    texts = [(one.get("message") or one.get("delta") or {}).get("content") or one.get("text") or "" for one in choices]
    return "".join(texts), next(one["finish_reason"] for one in choices if one.get("finish_reason"))


write_model()
with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as other:
    port, metrics = free.getsockname()[1], other.getsockname()[1]
settings = {"MAX_SERVE_DUMMY_MODEL": "1", "HF_HUB_OFFLINE": "1", "MODULAR_TELEMETRY_ENABLED": "0", "HOME": os.getcwd()}
settings |= {"MAX_SERVE_HOST": "127.0.0.1", "MAX_SERVE_METRICS_ENDPOINT_PORT": str(metrics)}
command = ["venv/bin/max", "serve", "--model-path", "model", "--devices", "cpu", "--quantization-encoding", "float32"]
command += ["--max-length", "512", "--port", str(port)]
with open("log", "w") as log:
    server = subprocess.Popen(command, env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True)
try:
    for _ in range(3000):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert server.poll() is None, Path("log").read_text()[-2000:]
            time.sleep(0.1)
    ways = [(path, stream) for path in ("chat/completions", "completions") for stream in (False, True)]
    without = {way: told(ask(port, way[0], stream=way[1])) for way in ways}
    stopped = {way: told(ask(port, way[0], stream=way[1], stop=["##"])) for way in ways}
    several = [len(json.loads(ask(port, path, n=2))["choices"]) for path in ("chat/completions", "completions")]
finally:
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
print("max", version("max"), "without a stop string:", {text for text, _ in without.values()})
for (path, stream), (text, reason) in stopped.items():
    print(f"with '##': {path}, {'streamed' if stream else 'whole'}: {text!r}, {reason}")
print("choices with n 2:", several)
assert set(without.values()) == {(SAID, "stop")}, "the dummy model writes otherwise now"
assert stopped.pop(("chat/completions", False)) == ("One.", "stop"), "a whole chat is cut otherwise now"
assert all(text.startswith("One.##") and reason == "stop" for text, reason in stopped.values()), "the stop string is cut now"
assert several == [1, 1], "n is heeded now"
PYTHON
