#!/bin/sh
# Several answers to one request (`n_choices`, OpenAI's `n`) in mistral.rs (its Python package mistralrs 0.9.5, on the
# CPU; a model that writes "longer" or "s", by chance). Its server, which has the same engine, comes in no package, and
# was not run.
#
# Guess: a stream ends when all its choices have said why they ended; each has its whole text. The choices of a whole
#        answer stand in the order of their index, so that the first one is the first that was drawn. `usage` counts all
#        of them, and completions know `n_choices` as chats do.
# Seen:  a stream ends amid its choices: of three, one or two never say that they ended, and their texts break off
#        ("lo", "l"), no error. In a whole answer they stand in the order in which they ended, so the first is the
#        shortest: of "longer" and "s" it was "s" whenever one was. `completion_tokens` is the count of one choice. A
#        completion takes `n_choices: 3`, and has one.
# So:    ask for one choice a request; where several are needed, do not stream, go by `index` and not by the place, and
#        count the tokens of each text oneself.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet mistralrs==0.9.5 numpy==2.4.6 safetensors==0.8.0 tokenizers==0.23.3 \
    2>/dev/null
cd "$folder"
cat > models.py <<'PYTHON'
"""Makes a model of one layer, whose next token is told by the last one alone."""
import json
from pathlib import Path

import numpy
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

WIDTH = 320  # more than there are tokens
TOKENS = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
AT = {token: number for number, token in enumerate(TOKENS)}
ANSWERS = ["!longer", "!s"]  # behind the prompt


def make(name, head):
    path = Path(name)
    path.mkdir()
    tokenizer = Tokenizer(models.BPE(vocab=AT, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(TOKENS[:2])
    tokenizer.save(str(path / "tokenizer.json"))
    chat = {"bos_token": "<s>", "eos_token": "</s>"}
    chat["chat_template"] = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    (path / "tokenizer_config.json").write_text(json.dumps(chat))
    square, wide = numpy.zeros((WIDTH, WIDTH), "f"), numpy.zeros((64, WIDTH), "f")
    inner, ones = "model.layers.0", numpy.ones(WIDTH, "f")
    weights = {"model.embed_tokens.weight": numpy.eye(len(TOKENS), WIDTH, dtype="f"), "lm_head.weight": head}
    weights |= {f"{inner}.self_attn.{part}_proj.weight": square for part in "qkvo"}
    weights |= {f"{inner}.mlp.{part}_proj.weight": wide for part in ("gate", "up")}
    weights |= {f"{inner}.mlp.down_proj.weight": wide.T.copy(), "model.norm.weight": ones}
    weights |= {f"{inner}.{part}_layernorm.weight": ones for part in ("input", "post_attention")}
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    (path / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": len(TOKENS),
        "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 5,
        "num_key_value_heads": 5, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "max_position_embeddings": 512,
        "bos_token_id": 0, "eos_token_id": 1, "tie_word_embeddings": False, "torch_dtype": "float32",
    }))


head = numpy.zeros((len(TOKENS), WIDTH), "f")
for answer in ANSWERS:
    for one, next_one in zip(answer, [*answer[1:], "</s>"]):
        head[AT[next_one], AT[one]] = 1.0
make("model", head)
PYTHON
venv/bin/python models.py
cat > ask.py <<'PYTHON'
from importlib.metadata import version

from mistralrs import Architecture, ChatCompletionRequest, CompletionRequest, Runner, Which

TOKENS = {"longer": 7, "s": 2}  # with the end
runner = Runner(which=Which.Plain(model_id="./model", arch=Architecture.Llama), token_source="none")


def chat(**fields):
    messages = [{"role": "user", "content": "!"}]
    request = ChatCompletionRequest(model="default", messages=messages, n_choices=3, temperature=1.0, **fields)
    return runner.send_chat_completion_request(request)


def streamed():
    """Text and finish_reason of each choice."""
    texts, reasons = ["", "", ""], [None, None, None]
    for event in chat(stream=True):
        for choice in event.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] = choice.finish_reason or reasons[choice.index]
    return list(zip(texts, reasons))


print("mistralrs", version("mistralrs"))
streams = [streamed() for _ in range(20)]
print("streams:", *streams[:5], sep="\n    ")
lack = sum(None in [reason for _, reason in one] for one in streams)
cut = [(text, reason) for one in streams for text, reason in one if text not in TOKENS]
print(f"    of {len(streams)} {lack} lack an end; texts that broke off:", [text for text, _ in cut])
assert lack and cut and {reason for _, reason in cut} == {None}, "all come to their end now"
answers = [chat() for _ in range(20)]
told = [([(one.index, one.message.content) for one in said.choices], said.usage.completion_tokens) for said in answers]
print("whole answers, and their completion_tokens:", *told[:5], sep="\n    ")
assert all({choice.finish_reason for choice in one.choices} == {"stop"} for one in answers)
mixed = [choices for choices, _ in told if len({text for _, text in choices}) == 2]
assert any([index for index, _ in choices] != [0, 1, 2] for choices in mixed), "they stand by their index now"
assert mixed and all(choices[0][1] == "s" for choices in mixed), "the first is not always the shortest now"
assert all(count in TOKENS.values() for _, count in told), "all choices are counted now"
request = CompletionRequest(model="default", prompt="!", n_choices=3, temperature=1.0)
print("choices of a completion:", len(runner.send_completion_request(request).choices))
assert len(runner.send_completion_request(request).choices) == 1, "completions have several choices now"
PYTHON
venv/bin/python ask.py 2>errors >said || { cat said errors; exit 1; }
grep -v INFO said  # its log stands on stdout
