#!/bin/sh
# Prompts that leave no room for `max_tokens`, seeds, `n` and log-probs in Xinference 4.1.0, by its engine Transformers
# (transformers 5.17.0, torch 2.13.0 on the CPU; a model of random weights).
#
# Guess: what has no room is refused by 400, as OpenAI's API does it, or the answer is made shorter, as vLLM does.
#        Fields that a server does not know are refused, or have an effect. Its documentation calls its API compatible
#        with OpenAI's.
# Seen:  the prompt is cut from its beginning, where the instructions stand, until it fits with `max_tokens` and 8
#        more: "Answer in German" and "Answer in Danish" before a long text get the same answer. So it is with short
#        prompts whose `max_tokens` is large: of 256 tokens with `max_tokens: 240` a prompt keeps its last 8, whatever
#        the answer takes. It is a 200, and the only trace is `usage.prompt_tokens`, which counts what was left. With
#        `max_tokens: 249` it is a 500 that says to look at the server's logs. `seed`, `n`, `logprobs` and
#        `response_format` do nothing; each is answered by 200.
# So:    keep `max_tokens` small, and hold `prompt_tokens` against a count of one's own: where it is smaller, the
#        answer is to another prompt. Its engine llama.cpp heeds seeds and log-probs, refuses a prompt that is too
#        long by a 500, and takes `n` for one, too (tried).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet xinference==4.1.0 torch==2.13.0 transformers==5.17.0 2>/dev/null
"$folder/venv/bin/python" -m pip uninstall --quiet --yes torchvision  # it wants one torch alone, and no text needs it
cd "$folder"
export HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
venv/bin/python - <<'PYTHON' 2>/dev/null
"""Makes a model of random weights with a context of 256 tokens, a letter a token."""
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

tokens = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
torch.manual_seed(7)
shape = {"vocab_size": len(tokens), "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
config = LlamaConfig(hidden_size=320, max_position_embeddings=256, bos_token_id=0, eos_token_id=1, **shape)
model = LlamaForCausalLM(config)
model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=1)
model.save_pretrained("model")
tokenizer.save_pretrained("model")
PYTHON
venv/bin/python - "$folder" <<'PYTHON'
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import version

CONTEXT = 256  # tokens that the model has room for
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"
folder = sys.argv[1]


def post(path, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=200)
    connection.request("POST", path, json.dumps(fields), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def launch():
    spec = {"model_format": "pytorch", "model_size_in_billions": 1, "quantization": "none", "model_id": None}
    family = {"version": 2, "model_name": "tiny", "model_family": "other", "model_lang": ["en"]}
    family |= {"context_length": CONTEXT, "model_ability": ["chat"], "chat_template": TEMPLATE}
    family |= {"stop": ["</s>"], "stop_token_ids": [1]}
    family |= {"architectures": ["LlamaForCausalLM"], "model_specs": [{**spec, "model_uri": f"{folder}/model"}]}
    assert post("/v1/model_registrations/LLM", model=json.dumps(family), persist=True)[0] == 200
    chosen = {"model_format": "pytorch", "model_size_in_billions": 1, "quantization": "none", "n_gpu": None}
    chosen |= {"model_uid": "tiny", "model_name": "tiny", "model_engine": "Transformers", "model_type": "LLM"}
    said = post("/v1/models", **chosen)
    assert said[0] == 200, said


def ask(prompt, max_tokens=20, **fields):
    messages = [{"role": "user", "content": prompt}]
    return post("/v1/chat/completions", model="tiny", messages=messages, max_tokens=max_tokens, **fields)


def text(prompt, **fields):
    status, said = ask(prompt, **fields)
    assert status == 200, said
    return said["choices"][0]["message"]["content"]


with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
environment = os.environ | {"XINFERENCE_HOME": f"{folder}/home", "XINFERENCE_AUTH_ADVANCED": "0"}
environment |= {"XINFERENCE_ENABLE_VIRTUAL_ENV": "0", "XINFERENCE_DISABLE_METRICS": "1"}
command = ["venv/bin/xinference-local", "-H", "127.0.0.1", "-p", str(port)]
with open("server.log", "w") as log:
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
try:
    for _ in range(1200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            break
        except OSError:
            assert server.poll() is None, "the server did not start"
            time.sleep(0.1)
    launch()
    print("xinference", version("xinference"), "transformers", version("transformers"))
    first, second = "Answer in German: ", "Answer in Danish. "
    rest = "words and words " * 4
    same = {}
    for length, prompt in (("short", rest), ("long", rest * 6)):
        same[length] = text(first + prompt, temperature=0) == text(second + prompt, temperature=0)
        print(f"{len(first + prompt)} tokens, two beginnings: the answers are {'the same' if same[length] else 'two'}")
    counted = {}
    for tokens, most in ((100, 20), (400, 20), (100, 200), (100, 240), (100, 247)):
        status, said = ask("a" * tokens, most, temperature=0)
        assert status == 200, said
        counted[tokens, most] = said["usage"]["prompt_tokens"]
        print(f"a prompt of {tokens} tokens, max_tokens {most}: {status}, prompt_tokens {counted[tokens, most]}")
    refused = ask("a" * 100, 249, temperature=0)
    print("max_tokens 249:", refused)
    drawn = {text("Hi", temperature=1, seed=1) for _ in range(4)}
    print(f"one seed, asked four times: {len(drawn)} answers")
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    status, said = ask("Hi", temperature=0, n=2, logprobs=True, top_logprobs=1, response_format=form)
    choices, plain = said["choices"], text("Hi", temperature=0)
    print(f"n 2, logprobs and a schema: {status}, {len(choices)} choice, log-probs {choices[0].get('logprobs')}")
finally:
    os.killpg(server.pid, signal.SIGKILL)
assert same == {"short": False, "long": True}, "the beginning of a long prompt is heard now"
assert counted == {
    (100, 20): 100, (400, 20): CONTEXT - 20 - 8, (100, 200): CONTEXT - 200 - 8, (100, 240): 8, (100, 247): 1,
}, "prompts are cut otherwise now"  # fmt: skip
assert refused[0] == 500 and "max" not in json.dumps(refused[1]).lower(), "it says now what is wrong"
assert len(drawn) == 4, "a seed is heard now"
assert status == 200 and len(choices) == 1 and not choices[0].get("logprobs"), "it knows n, or log-probs, now"
assert choices[0]["message"]["content"] == plain, "it knows schemas now"
PYTHON
