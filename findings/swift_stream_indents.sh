#!/bin/sh
# Streams of `swift deploy` (ms-swift 4.6.0, its engine transformers, torch 2.13.0 on the CPU), its `stop` and `seed`, and
# what of a prompt reaches the model by /v1/completions; the model is one that writes what it is told.
#
# Guess: a stream's pieces put together are the whole answer, to the last space. The text ends before a stop string, a
#        seed gives the same answer again, and a prompt in completions reaches the model as it is, as OpenAI has it.
# Seen:  a streamed line that begins with more than one space loses one, since tokenizers cut "    return" into three
#        spaces and " return": code indented by 4 and 8 is indented by 3 and 7, and by 2 is by 1, which in Markdown is
#        another list. Spaces at the answer's beginning are all lost, so half a function that is to be completed is no
#        Python any more. The whole answer has them; both are 200 with finish_reason stop. The stop string stays in
#        the text. `seed` does nothing, but each start of the server draws the same in turn. A prompt in completions is
#        put into the chat template, as a user's message. Penalties and `response_format` do nothing (tried).
# So:    ask for whole answers; cut the text at the stop string oneself; serve a base model by another server, or with
#        a template that adds nothing. By its code its engines vllm, sglang and lmdeploy put streams together by the same
#        lines (not tried).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-compile ms-swift==4.6.0 torch==2.13.0 transformers==5.19.0 2>/dev/null
cd "$folder"
cat > model.py <<'PYTHON'
"""Makes a model that writes code after "!", its indented part after "@", "One.Two" after "#", and after "?" x or y by chance."""
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = "de def Ġf (x ): ):Ċ ĠĠ ĠĠĠ Ġi Ġif Ġx :Ċ ĠĠĠĠ ĠĠĠĠĠĠĠ Ġr Ġre Ġret Ġretu Ġretur Ġreturn".split()  # Ċ: line break
tokens = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *WORDS]
at = {token: number for number, token in enumerate(tokens)}
cuts = [[(word[:cut], word[cut:]) for cut in range(1, len(word))] for word in WORDS]
merges = [[pair for pair in pairs if pair[0] in at and pair[1] in at][-1] for pairs in cuts]
tokenizer = Tokenizer(models.BPE(vocab=at, merges=merges))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")
tokenizer.chat_template = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}{% endfor %}"
code = ["def", "Ġf", "(x", "):Ċ", "ĠĠĠ", "Ġif", "Ġx", ":Ċ", "ĠĠĠĠĠĠĠ", "Ġreturn", "Ġ", "1", "</s>"]
pairs = [*zip(["!", *code], code), ("@", "ĠĠĠ"), *zip("#One.Tw", "One.Two"), ("o", "</s>")]
pairs += [("?", "x"), ("?", "y"), ("x", "</s>"), ("y", "</s>")]
shape = {"vocab_size": len(tokens), "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
model = LlamaForCausalLM(LlamaConfig(hidden_size=320, max_position_embeddings=512, bos_token_id=0, eos_token_id=1, **shape))
with torch.no_grad():
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.zero_()
    model.model.embed_tokens.weight[:, : len(tokens)] = torch.eye(len(tokens))
    for one, next_one in pairs:
        model.lm_head.weight[at[next_one], at[one]] = 1.0
model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=1)
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
from importlib.metadata import version

ROUNDS = 20  # a model that draws one of two letters by chance has the same one as often by a chance of 1 in 500,000
CODE = "def f(x):\n    if x:\n        return 1"


def ask(path, **fields):
    """The answer's status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    body = json.dumps({"model": "m", "max_tokens": 30, **fields})
    connection.request("POST", f"/v1/{path}", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def chat(prompt, **fields):
    return ask("chat/completions", messages=[{"role": "user", "content": prompt}], **fields)


def whole(prompt, **fields):
    """Text and finish reason."""
    status, body = chat(prompt, **fields)
    assert status == 200, body
    (choice,) = json.loads(body)["choices"]
    return choice["message"]["content"], choice["finish_reason"]


def streamed(prompt, **fields):
    """The pieces put together, and the last finish reason."""
    status, body = chat(prompt, stream=True, **fields)
    assert status == 200 and body.rstrip().endswith("[DONE]"), body
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
    choices = [event["choices"][0] for event in events]
    return "".join(choice["delta"]["content"] or "" for choice in choices), choices[-1]["finish_reason"]


with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
command = ["venv/bin/swift", "deploy", "--model", "told", "--model_type", "llama", "--template", "chatml"]
command += ["--template_backend", "jinja", "--infer_backend", "transformers", "--served_model_name", "m"]
command += ["--host", "127.0.0.1", "--port", str(port)]
environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HOME": os.getcwd()}
log = open("server.log", "w")
with log, subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True) as server:
    try:
        for _ in range(3000):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert server.poll() is None, open("server.log").read()
                time.sleep(0.1)
        code, code_streamed = whole("!"), streamed("!")
        part, part_streamed = whole("@"), streamed("@")
        stop = whole("#", stop=["."]), streamed("#", stop=["."])
        drawn = [whole("?", temperature=1.0, seed=7)[0] for _ in range(ROUNDS)]
        completion = json.loads(ask("completions", prompt="#")[1])
    finally:
        os.killpg(server.pid, 9)
print("ms-swift", version("ms-swift"), "transformers", version("transformers"))
print("whole:   ", code)
print("streamed:", code_streamed)
print("one that begins with spaces, whole:   ", part)
print("one that begins with spaces, streamed:", part_streamed)
print("stop='.', whole and streamed:", stop)
print("twenty answers with seed 7:", *drawn)
print("prompt '#' in completions:", completion["choices"][0]["text"], completion["usage"])
assert code == (CODE, "stop") and part == ("    if x:\n        return 1", "stop")
assert code_streamed == ("def f(x):\n   if x:\n       return 1", "stop"), "streams keep their spaces now"
assert part_streamed == ("if x:\n       return 1", "stop"), "streams keep the first spaces now"
assert stop == (("One.", "stop"), ("One.", "stop")), "the text ends before the stop string now"
assert set(drawn) == {"x", "y"}, "a seed is heeded now"
# <s> and the seven letters of "user: #"
assert completion["usage"]["prompt_tokens"] == 8, "completions have no template now"
PYTHON
