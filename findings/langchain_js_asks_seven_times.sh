#!/bin/sh
# Answers by a schema that come cut, filtered, or otherwise than the schema has it, in LangChain.js (@langchain/openai
# 1.6.0, @langchain/core 1.4.0, openai 7.59.0; Node 20), as `withStructuredOutput` is by default.
#
# Guess: a request that fails is repeated, up to `maxRetries`; an answer that came, and is billed, is not. One that
#        `max_tokens` cut would be cut again. With `includeRaw: true` what cannot be parsed is handed out as it came,
#        with `parsed: null`.
# Seen:  an answer that cannot be parsed is an error of the request, and is asked for seven times within two minutes,
#        since `maxRetries` is 6: one that was cut by `max_tokens` (which cuts all seven), by a content filter, or by a
#        server that stopped (`abort`, as vLLM 0.32.0 says), half a JSON that says `stop`, and a whole one that does not
#        fit the schema. All seven are billed, and there is one error, which tells of the last. `includeRaw` changes
#        nothing: seven, and none is handed out. By `method: "jsonMode"` or "functionCalling" a cut answer is asked for
#        once, and raises.
# So:    `maxRetries: 0` on a model that is asked by a schema, and count and wait oneself. Or ask without
#        `withStructuredOutput`, with `response_format`, and look at `finish_reason` before the text is parsed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{"name": "ask", "version": "1.0.0", "type": "module"}' > package.json
npm install --silent --no-audit --no-fund '@langchain/openai@1.6.0' '@langchain/core@1.4.0' openai@7.59.0 zod@4.6.7 \
    >/dev/null 2>&1
cat > ask.js <<'JAVASCRIPT'
import assert from "node:assert";
import { createServer } from "node:http";
import { ChatOpenAI } from "@langchain/openai";
import { z } from "zod";

const WHOLE = '{"name": "Soap", "price": 1299.5}';
const ANSWERS = { // by model: the text, and why it ended
  whole: [WHOLE, "stop"],
  "does not fit": ['{"name": "Soap", "price": "high"}', "stop"],
  length: [WHOLE.slice(0, 27), "length"],
  content_filter: [WHOLE.slice(0, 27), "content_filter"],
  abort: [WHOLE.slice(0, 27), "abort"],
  half: [WHOLE.slice(0, 27), "stop"],
};
const schema = z.object({ name: z.string(), price: z.number() });

/** Answers by a chat, and counts what each user was asked and has to pay. */
const server = createServer(async (request, response) => {
  let text = "";
  for await (const part of request) text += part;
  const { model, user, tools } = JSON.parse(text);
  const [content, finish_reason] = ANSWERS[model];
  billed[user] ??= { requests: 0, tokens: 0 };
  billed[user].requests += 1;
  billed[user].tokens += 10;
  const call = tools && { id: "1", type: "function", function: { name: tools[0].function.name, arguments: content } };
  const message = call ? { role: "assistant", content: null, tool_calls: [call] } : { role: "assistant", content };
  const usage = { prompt_tokens: 4, completion_tokens: 6, total_tokens: 10 };
  const choices = [{ index: 0, message, finish_reason }];
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify({ id: "1", object: "chat.completion", created: 1, model, choices, usage }));
}).listen(0, "127.0.0.1");

/** What comes of an answer, or the error that tells of it. */
async function ask([model, options]) {
  const user = `${model} ${JSON.stringify(options)}`;
  const configuration = { baseURL: `http://127.0.0.1:${server.address().port}/v1` };
  const llm = new ChatOpenAI({ model, apiKey: "none", user, configuration });
  let said;
  try {
    said = await llm.withStructuredOutput(schema, options).invoke("What is it, as JSON?");
  } catch (error) {
    said = `${error.name}: ${error.message.split("\n")[0].slice(0, 75)}`;
  }
  return [model, options, said, billed[user]];
}

const billed = {};
await new Promise((ready) => server.once("listening", ready));
const ways = Object.keys(ANSWERS).map((model) => [model, {}]);
for (const options of [{ includeRaw: true }, { method: "jsonMode" }, { method: "functionCalling" }]) {
  ways.push(["length", options]);
}
const told = await Promise.all(ways.map(ask));
server.close();
for (const [model, options, said, { requests, tokens }] of told) {
  console.log(`${model} ${JSON.stringify(options)}: ${requests} requests, ${tokens} tokens:`, said);
}
const asked = told.map(([, , , { requests }]) => requests);
assert.deepStrictEqual(asked, [1, 7, 7, 7, 7, 7, 7, 1, 1], "it asks otherwise now");
assert.deepStrictEqual(told[0][2], { name: "Soap", price: 1299.5 });
assert(told.slice(1).every(([, , said]) => typeof said === "string"), "some of these are answers now");
JAVASCRIPT
node ask.js 2>errors.txt || { cat errors.txt; exit 1; }
