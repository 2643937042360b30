#!/bin/sh
# Texts that are JSON, or read like it, in JSON lines that Hugging Face's datasets 5.2.0 loads, where one row has something
# else than a text in that place.
#
# Guess: a text is a text. A key that holds texts and something else is an error, or gets a type that holds both. There is
#        one, `Json`: its documentation says that its values are stored as JSON, so a text comes back as it was.
# Seen:  `load_dataset` gives such a key that type by itself (`on_mixed_types="use_json"` is the default), and takes each
#        text that can be parsed for JSON already: "0042" is 42, "1e3" is 1000.0, "true" is True, "null" and "NaN" are
#        None, an answer by a schema is an object, without the digits that its numbers had. Chats are such files: one
#        message whose content is a list of parts (text and image) changes the contents of all others, the answers too.
#        `Dataset.from_list` does the same when it is asked for that type. `to_json` writes what has become of them.
# So:    give the type of each key oneself (`features=Features({"answer": Value("string")})`, or Parquet, whose types are
#        known), and write contents either all as text or all as lists of parts.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'datasets==5.2.0'
cd "$folder"
HF_HOME="$folder/home" HF_HUB_OFFLINE=1 venv/bin/python - <<'PYTHON'
import json

import datasets

TEXTS = {  # an answer, and what becomes of it
    "yes": "yes",
    "0042": 42,
    "4.0": 4.0,
    "1e3": 1000.0,
    "true": True,
    "null": None,
    "NaN": None,
    '"quoted"': "quoted",
    '{"label": "spam", "score": 0.12345678901234567}': {"label": "spam", "score": 0.12345678901234501},
}
PARTS = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "a.png"}}]
datasets.disable_progress_bars()
print("datasets", datasets.__version__)


def load(name, rows, **options):
    with open(name, "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return datasets.load_dataset("json", data_files=name, split="train", **options)


def chat(content, answer):
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]}


chats = [chat("What is it?", answer) for answer in TEXTS]
plain = load("plain.jsonl", chats)
assert list(plain) == chats, "texts alone are not read as they are"
mixed = load("mixed.jsonl", [*chats, chat(PARTS, "a dog")])
print(mixed.features)
read = [row["messages"][1]["content"] for row in mixed]
for text, value in zip(TEXTS, read):
    print(f"answer {text!r}: {value!r}")
assert read == [*TEXTS.values(), "a dog"], "answers are read otherwise now"
assert [type(value) for value in read[:-1]] == [type(value) for value in TEXTS.values()]
mixed.to_json("back.jsonl")
with open("back.jsonl") as file:
    back = [json.loads(line)["messages"][1]["content"] for line in file]
print("written by to_json:", back)
assert back[1] == 42 and back[5] is None and isinstance(back[8], dict)

rows = [{"answer": text} for text in TEXTS] + [{"answer": 5}]
numbers = load("numbers.jsonl", rows)
assert [row["answer"] for row in numbers] == [*TEXTS.values(), 5], "a number among texts is read otherwise now"
told = load("told.jsonl", rows[:-1] + [{"answer": "5"}], features=datasets.Features({"answer": datasets.Value("string")}))
assert [row["answer"] for row in told] == [*TEXTS, "5"], "not even a type that is given is enough"
listed = datasets.Dataset.from_list(rows, on_mixed_types="use_json")
assert [row["answer"] for row in listed] == [*TEXTS.values(), 5], "from_list reads them otherwise now"
PYTHON
