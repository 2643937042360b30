#!/bin/sh
# Requests that MLServer 1.7.1 puts into one batch (`max_batch_size`), and whose settings hold for them, in its own Hugging
# Face runtime (mlserver-huggingface 1.7.1, with transformers 4.41.2, since newer ones lack what it imports; a model that
# writes "~" until it is stopped).
#
# Guess: a batch is made of requests whose settings are the same, or each keeps its own. Its documentation says that it
#        batches requests "transparently on-the-fly".
# Seen:  any two requests are one batch, and each setting is that of the first request that has it: who asked for 40 tokens
#        gets 5, since another one asked for 5; who asked for the answer alone gets the prompt before it; who sent no
#        settings gets a stranger's. All by 200, under the right id, with nothing to tell, and for other rows each time, as
#        they happen to meet. A misspelt name in one request is a 500 for all in its batch. Without `max_batch_size` each
#        has its own.
# So:    set `max_batch_size` only where all clients send the same settings, or give them in model-settings.json; and count
#        what came. By its code `parameters` of whole requests are merged likewise in every runtime, there by the last one
#        (not tried). That parameters of inputs were lost is known, and was changed: pull request 916 of MLServer.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile mlserver==1.7.1 transformers==4.41.2 optimum==1.21.4 torch==2.13.0 \
    tensorflow-cpu==2.21.0 'numpy<2' pillow 2>/dev/null  # its runtime imports TensorFlow, and does without it
"$folder/venv/bin/python" -m pip install --quiet --no-compile --no-deps mlserver-huggingface==1.7.1 2>/dev/null
cd "$folder"
cat > model.py <<'PYTHON'
"""Makes a model that writes "~" after "~"."""
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

tokens = ["<s>", "</s>", "<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
at = {token: number for number, token in enumerate(tokens)}
tokenizer = Tokenizer(models.BPE(vocab=at, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
tokenizer.decoder = decoders.ByteLevel()
names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "padding_side": "left"}
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
shape = {"vocab_size": len(tokens), "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
model = LlamaForCausalLM(LlamaConfig(hidden_size=320, bos_token_id=0, eos_token_id=1, pad_token_id=2, **shape))
with torch.no_grad():
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.zero_()
    model.model.embed_tokens.weight[:, : len(tokens)] = torch.eye(len(tokens))
    model.lm_head.weight[at["~"], at["~"]] = 1.0
model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=1, pad_token_id=2)
model.save_pretrained("told")
tokenizer.save_pretrained("told")
PYTHON
HF_HUB_OFFLINE=1 venv/bin/python model.py 2>/dev/null
venv/bin/python - <<'PYTHON'
import http.client
import json
import os
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

TYPES = {int: "INT32", bool: "BOOL"}
SHORT, LONG = {"max_new_tokens": 5}, {"max_new_tokens": 40}
ALONE, WITH_PROMPT = {"return_full_text": False, **SHORT}, {"return_full_text": True, **SHORT}


def ask(model, prompt, settings):
    """The answer's status, and its id with the text."""
    inputs = [{"name": "array_inputs", "shape": [1], "datatype": "BYTES", "data": [prompt], "parameters": {"content_type": "str"}}]
    raw = {"shape": [1], "parameters": {"content_type": "raw"}}
    inputs += [{"name": name, "datatype": TYPES[type(value)], "data": [value], **raw} for name, value in settings.items()]
    connection = http.client.HTTPConnection("127.0.0.1", ports["http_port"], timeout=300)
    body = json.dumps({"id": prompt, "inputs": inputs})
    connection.request("POST", f"/v2/models/{model}/infer", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    data = answer.read()
    if answer.status != 200:
        return answer.status, data.decode()
    said = json.loads(data)
    (choice,) = json.loads(said["outputs"][0]["data"][0])
    return answer.status, (said["id"], choice["generated_text"])


def together(model, *settings):
    """Sends one request for each of the settings at once; the prompts are "a~", "b~" and so on."""
    prompts = [f"{letter}~" for letter in "abcd"[: len(settings)]]
    with ThreadPoolExecutor(len(settings)) as pool:
        return [*pool.map(lambda prompt, its: ask(model, prompt, its), prompts, settings)]


def lengths(answers):
    assert [(status, said[0]) for status, said in answers] == [(200, "a~"), (200, "b~")], answers
    return [said[1].count("~") for _, said in answers]


ports = {}
for name in ("http_port", "grpc_port", "metrics_port"):
    with socket.create_server(("127.0.0.1", 0)) as free:
        ports[name] = free.getsockname()[1]
Path("settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **ports}))
for name, batching in (("plain", {}), ("batched", {"max_batch_size": 2, "max_batch_time": 60})):
    extra = {"task": "text-generation", "pretrained_model": f"{os.getcwd()}/told", "framework": "pt"}
    made = {"name": name, "implementation": "mlserver_huggingface.HuggingFaceRuntime", "parameters": {"extra": extra}}
    Path(name).mkdir()
    Path(name, "model-settings.json").write_text(json.dumps(made | batching))
environment = os.environ | {"HF_HUB_OFFLINE": "1", "USE_TF": "0", "OMP_NUM_THREADS": "1", "HOME": os.getcwd()}
log = open("server.log", "w")
with log, subprocess.Popen(["venv/bin/mlserver", "start", "."], env=environment, stdout=log, stderr=log) as server:
    try:
        for _ in range(3000):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", ports["http_port"], timeout=10)
                connection.request("GET", "/v2/models/batched/ready")
                if connection.getresponse().status == 200:
                    break
            except OSError:
                assert server.poll() is None, Path("server.log").read_text()
            time.sleep(0.1)
        seen = {
            (model, what): together(model, *settings)
            for what, settings in {
                "40 tokens, and 5": (LONG, SHORT),
                "no settings, and 5 tokens": ({}, SHORT),
                "with the prompt, and without it": (WITH_PROMPT, ALONE),
                "one name is misspelt": (SHORT, {"max_new_token": 5}),
            }.items()
            for model in ("plain", "batched")
        }
    finally:
        server.kill()
print("mlserver", version("mlserver"), "mlserver-huggingface", version("mlserver-huggingface"))
for (model, what), answers in seen.items():
    print(f"{model}; {what}:", *(f"{status} {str(said)[:110]!r}" for status, said in answers))
assert lengths(seen["plain", "40 tokens, and 5"]) == [41, 6]
assert lengths(seen["batched", "40 tokens, and 5"]) in ([41, 41], [6, 6]), "each has its own length now"
free_length, short = lengths(seen["plain", "no settings, and 5 tokens"])
assert free_length > short == 6
assert lengths(seen["batched", "no settings, and 5 tokens"]) == [6, 6], "who sent no settings has none now"
assert lengths(seen["plain", "with the prompt, and without it"]) == [6, 5]
assert lengths(seen["batched", "with the prompt, and without it"]) in ([6, 6], [5, 5]), "each has its own form now"
assert [status for status, _ in seen["plain", "one name is misspelt"]] == [200, 500]
assert [status for status, _ in seen["batched", "one name is misspelt"]] == [500, 500], "others are spared now"
PYTHON
