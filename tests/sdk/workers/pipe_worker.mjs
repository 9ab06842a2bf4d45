// An unmodified npm SDK worker with filters, sources and sinks, typed and not. Run with the engine's URL.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const require = createRequire(pathToFileURL(process.env.SDK_FOLDER + '/'))
const { registerWorker } = require('iii-sdk')
const worker = registerWorker(process.argv[2], { workerName: 'pipe-node' })
const BLOCK = Buffer.alloc(1 << 16, 'abcdefgh')

const text = { type: 'string' }
const ref = (direction) => ({
  type: 'object',
  properties: { channel_id: text, access_key: text, direction: { type: 'string', enum: [direction] } },
})
const taking = (properties) => ({ type: 'object', properties })

async function written(stream, chunk) {
  if (!stream.write(chunk)) await new Promise((resolve) => stream.once('drain', resolve))
}

async function copy({ source, sink, a, b }) {
  const [reader, writer] = [source ?? a, sink ?? b]
  let bytes = 0
  for await (const chunk of reader.stream) {
    await written(writer.stream, chunk)
    bytes += chunk.length
  }
  writer.stream.end()
  return { bytes }
}

async function make({ size, to, output }) {
  const { stream } = to ?? output
  for (let left = size; left > 0; left -= BLOCK.length) await written(stream, BLOCK.subarray(0, left))
  stream.end()
  return { bytes: size }
}

async function count({ from, input }) {
  let bytes = 0
  for await (const chunk of (from ?? input).stream) bytes += chunk.length
  return { bytes }
}

worker.registerFunction('node::copy', copy)
worker.registerFunction('node::typed', copy, { request_format: taking({ a: ref('read'), b: ref('write') }) })
worker.registerFunction('node::make', make)
worker.registerFunction('node::make_typed', make, { request_format: taking({ output: ref('write') }) })
worker.registerFunction('node::count_typed', count, { request_format: taking({ input: ref('read') }) })
worker.registerFunction('node::count', count)
