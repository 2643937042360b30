#!/bin/sh
# What chance gives answers that are made in the same second by node-llama-cpp 3.22.1 (its binary for the CPU, by Node.js; a
# model that writes x, y or z, by chances of 5, 3 and 2 in 10, after any prompt).
#
# Guess: without a seed each answer is drawn anew, as in llama.cpp itself. Eight prompts that are asked at once, each in a
#        sequence of its own, are eight draws; so are eight samples of one prompt.
# Seen:  the seed is the clock's full second ("Defaults to the current epoch time", it says), for each answer by itself. So
#        all that begins within one second begins with the same random number: eight different prompts get the same letter, and
#        by its code so does what is asked next, until the second is over. Labels and names that are drawn come out alike in
#        rows that were asked together, and "samples" of one prompt are copies. No error, no warning.
# So:    give each answer a seed of its own: `generateCompletion(prompt, {temperature: 1, seed: row})`, made of the row's
#        number or key; so it can be made again, too. Chats (`LlamaChatSession.prompt`) take the same option.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet 'gguf==0.19.0' 'numpy<3' 2>/dev/null
npm install --silent --no-fund --no-audit --ignore-scripts --omit=optional --prefix "$folder" \
    node-llama-cpp@3.22.1 @node-llama-cpp/linux-x64@3.22.1 >/dev/null
cd "$folder"
venv/bin/python - <<'PYTHON'
"""Makes a model that writes x, y or z by chance after "?", and then ends."""
import gguf
import numpy as np

WIDTH, INNER, HEADS = 320, 64, 2
plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
letters = [chr(byte) for byte in plain] + [chr(256 + at) for at in range(256 - len(plain))]
tokens = ["<s>", "</s>", *letters, "th"]
at = {token: number for number, token in enumerate(tokens)}
writer = gguf.GGUFWriter("told.gguf", "llama")
writer.add_context_length(512)
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
writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
writer.add_token_merges(["t h"])
writer.add_bos_token_id(0)
writer.add_eos_token_id(1)
writer.add_add_bos_token(False)
shapes = {f"attn_{name}": (WIDTH, WIDTH) for name in ("q", "k", "v", "output")}
shapes |= {"ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
for name, shape in shapes.items():
    writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float32))
embedding, output = np.eye(len(tokens), WIDTH, dtype=np.float32), np.zeros((len(tokens), WIDTH), np.float32)
for letter, chance in (("x", 0.5), ("y", 0.3), ("z", 0.2)):
    output[at[letter], at["?"]] = (30 + np.log(chance)) / WIDTH**0.5  # the one number that is not 0, after the last norm
    output[at["</s>"], at[letter]] = 30 / WIDTH**0.5
writer.add_tensor("token_embd.weight", embedding)
writer.add_tensor("output.weight", output)
for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
    writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
PYTHON
cat > draw.mjs <<'NODE'
import assert from "node:assert";
import {readFileSync} from "node:fs";
import {getLlama, LlamaCompletion} from "node-llama-cpp";

const ROUNDS = 20; // eight draws are alike by chance in one of 240
const llama = await getLlama({gpu: false, build: "never", logLevel: "error", progressLogs: false});
const model = await llama.loadModel({modelPath: "told.gguf"});
const context = await model.createContext({sequences: 8, contextSize: 64});
const sequences = Array.from({length: 8}, () => new LlamaCompletion({contextSequence: context.getSequence()}));

async function rounds(seed) {
    const seen = [];
    for (let round = 0; round < ROUNDS; round++) {
        const row = at => 8 * round + at;
        const asked = sequences.map((sequence, at) =>
            sequence.generateCompletion(`${row(at)}: x, y or z?`, {temperature: 1, maxTokens: 1, ...seed(row(at))}));
        seen.push((await Promise.all(asked)).join(""));
        await new Promise(resolve => setTimeout(resolve, 250));
    }
    return seen;
}

const alike = seen => seen.filter(letters => new Set(letters).size === 1).length;
const without = await rounds(() => ({}));
const seeded = await rounds(row => ({seed: row}));
const again = await rounds(row => ({seed: row}));
console.log("node-llama-cpp", JSON.parse(readFileSync("node_modules/node-llama-cpp/package.json")).version);
console.log("eight prompts at once, without a seed:", ...without);
console.log("rounds of which all eight are alike:", alike(without), "of", ROUNDS);
console.log("with a seed for each row:", ...seeded);
console.log("rounds of which all eight are alike:", alike(seeded), "of", ROUNDS);
assert.ok(without.every(letters => /^[xyz]{8}$/.test(letters)));
assert.ok(alike(without) >= ROUNDS / 2, "each answer is drawn for itself now");
assert.ok(alike(seeded) <= 3, "with seeds of their own they are alike, too");
assert.deepEqual(seeded, again, "a seed does not give the same answer again");
process.exit(0);
NODE
node draw.mjs
