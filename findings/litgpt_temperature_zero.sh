#!/bin/sh
# `temperature: 0`, `max_tokens`, `stop` and the chat template in `litgpt serve --openai_spec` (litgpt 0.5.13, litserve
# 0.2.19, torch 2.13.0 on the CPU; a model that writes x or y, by chances of 6 and 4 in 10, and then "~" until it is stopped).
#
# Guess: temperature 0 is the likeliest token, each time the same. `max_tokens: 5` makes five, and says `length`. A chat
#        reaches the model as the checkpoint's chat template writes it. By its own help the endpoint works "with the OpenAI SDK
#        and other OpenAI-compatible clients", and `--temperature` is the server's own, where a request has none.
# Seen:  temperature 0 counts as none given, and is the server's, 0.8: labels are drawn, and no two runs are alike. Who
#        gives none has LitServe's 0.7, whatever `--temperature` says. `max_tokens` is passed over: an answer has 50 tokens,
#        the server's own number, cut amid a word with finish_reason stop; only `max_completion_tokens` counts. `stop`
#        does nothing. The chat is written by the chat template, and all of it, roles and marks included, is put into
#        LitGPT's own prompt style once more, as one message of a user, before which a system prompt of LitGPT's stands.
# So:    ask for `temperature: 0.001`, and `max_completion_tokens`; or start it with `--temperature 0`, and `--max_new_tokens`.
#        Take an answer with as many tokens as were allowed for cut. A file prompt_style.yaml beside the weights that says
#        `class_path: litgpt.prompts.Default` leaves the chat template alone.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile litgpt==0.5.13 litserve==0.2.19 torch==2.13.0 jinja2 requests 2>/dev/null
cd "$folder"
cat > model.py <<'PYTHON'
"""Makes a model that writes a after "!", x or y after a line break, and then "~" again and again."""
import json
from pathlib import Path

import torch
from litgpt import GPT, Config
from litgpt.utils import save_config
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

tokens = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
at = {token: number for number, token in enumerate(tokens)}
tokenizer = Tokenizer(models.BPE(vocab=at, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.add_special_tokens([AddedToken("</s>", special=True)])
folder = Path("told")
folder.mkdir()
tokenizer.save(str(folder / "tokenizer.json"))
template = "{% for m in messages %}{{ m.content }}!{% endfor %}"
names = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast", "chat_template": template}
(folder / "tokenizer_config.json").write_text(json.dumps(names))
shape = {"n_layer": 1, "n_head": 2, "n_query_groups": 2, "n_embd": 320, "intermediate_size": 64, "block_size": 1024}
config = Config.from_name("Qwen2.5-0.5B-Instruct", vocab_size=len(tokens), padded_vocab_size=len(tokens), head_size=160, **shape)
model = GPT(config)
size = 320**0.5  # of the one number of a token that is not 0, after the last norm
with torch.no_grad():
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.zero_()
    model.transformer.wte.weight[:, : len(tokens)] = torch.eye(len(tokens))
    head = torch.zeros_like(model.lm_head.weight)
    for letter, chance in (("x", 0.6), ("y", 0.4)):
        head[at[letter], at["Ċ"]] = (30 + torch.log(torch.tensor(chance))) / size  # Ċ is a line break
        head[at["~"], at[letter]] = 30 / size
    head[at["~"], at["~"]] = head[at["a"], at["!"]] = head[at["~"], at["a"]] = 30 / size
    model.lm_head.weight = torch.nn.Parameter(head)
torch.save(model.state_dict(), folder / "lit_model.pth")
save_config(config, folder)
PYTHON
venv/bin/python model.py 2>/dev/null
venv/bin/python - <<'PYTHON'
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from contextlib import contextmanager
from importlib.metadata import version

ROUNDS = 40  # all alike by a chance of 6 in 10 is as likely as 1 in 700 million


@contextmanager
def serving(*options):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["venv/bin/litgpt", "serve", "told", "--openai_spec", "true", "--accelerator", "cpu", "--port", str(port), *options]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HOME": os.getcwd()}
    log = open("server.log", "w")
    with log, subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as server:
        try:
            for _ in range(1800):
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                    connection.request("GET", "/health")
                    if connection.getresponse().status == 200:
                        break
                except OSError:
                    assert server.poll() is None, open("server.log").read()
                time.sleep(0.1)
            yield lambda **fields: ask(port, **fields)
        finally:
            os.killpg(server.pid, signal.SIGKILL)


def ask(port, **fields):
    """Text and finish reason."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = json.load(answer)
    assert answer.status == 200, said
    (choice,) = said["choices"]
    return choice["message"]["content"], choice["finish_reason"]


def letters(send, **fields):
    return dict(sorted(Counter(send(max_completion_tokens=2, **fields)[0][0] for _ in range(ROUNDS)).items()))


with serving() as send:
    zero, nearly, none = letters(send, temperature=0), letters(send, temperature=0.001), letters(send)
    short, heeded = send(max_tokens=5), send(max_completion_tokens=5)
    stopped = send(max_completion_tokens=5, stop=["~"])
with serving("--temperature", "0") as send:
    zero_of_server, none_of_server = letters(send, temperature=0), letters(send)
with open("told/prompt_style.yaml", "w") as style:
    style.write("class_path: litgpt.prompts.Default\n")
with serving() as send:
    plain = send(max_completion_tokens=1)
print("litgpt", version("litgpt"), "litserve", version("litserve"))
print("temperature 0:", zero, "- 0.001:", nearly, "- none:", none)
print("with --temperature 0: temperature 0:", zero_of_server, "- none:", none_of_server)
print("max_tokens 5:", short, "- max_completion_tokens 5:", heeded)
print("stop '~':", stopped)
print("with a prompt style that adds nothing, so that the chat template alone is used:", plain)
assert {*zero} == {"x", "y"}, "temperature 0 is the likeliest now"
assert nearly == zero_of_server == {"x": ROUNDS}
assert {*none} == {*none_of_server} == {"x", "y"}, "--temperature counts now where a request has none"
assert len(short[0]) == 50 and short[1] == "stop", "max_tokens counts now"
assert len(heeded[0]) == 5 and heeded[1] == "stop", "it tells what was cut now"
assert "~" in stopped[0], "stop is heeded now"
# The chat template ends a prompt with "!", after which the model writes a; LitGPT's style ends it with a line break.
assert "a" not in {*zero, short[0][0], heeded[0][0]}, "the chat template alone is used now"
assert plain[0] == "a", "the chat template is not used now"
PYTHON
