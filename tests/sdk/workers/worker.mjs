// A worker of the npm SDK, doing what its users do. Run with the engine's URL and the worker's name.
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const require = createRequire(pathToFileURL(process.env.SDK_FOLDER + '/'))
const { registerWorker } = require('iii-sdk')
const { createChannel } = require('iii-sdk/helpers')

const [url, name] = process.argv.slice(2)
const worker = registerWorker(url, { workerName: name })

function pattern(size) {
  const block = Buffer.alloc(251 * 1044, Buffer.from(Array.from({ length: 251 }, (_, i) => i)))
  return Buffer.alloc(size, block)
}

async function written(stream, chunk) {
  if (!stream.write(chunk)) await new Promise((resolve) => stream.once('drain', resolve))
}

const functions = {
  echo: async (data) => data,
  fail: async (data) => {
    throw new Error(data.why)
  },
  upper: async (data) => {
    let bytes = 0
    for await (const chunk of data.in.stream) {
      await written(data.out.stream, Buffer.from(chunk.toString('latin1').toUpperCase(), 'latin1'))
      bytes += chunk.length
    }
    data.out.stream.end()
    return { bytes }
  },
  digest: async (data) => {
    const found = createHash('sha256')
    let bytes = 0
    for await (const chunk of data.deep.list[0].reader.stream) {
      found.update(chunk)
      bytes += chunk.length
    }
    return { bytes, sha256: found.digest('hex') }
  },
  produce: async (data) => {
    const found = createHash('sha256')
    const block = pattern(Math.min(data.bytes, 1 << 20))
    for (let left = data.bytes; left > 0; left -= block.length) {
      const chunk = block.subarray(0, left)
      found.update(chunk)
      await written(data.writer.stream, chunk)
    }
    data.writer.stream.end()
    return { sha256: found.digest('hex') }
  },
  progress: async (data) => {
    for (let step = 0; step < 3; step++) {
      data.writer.sendMessage(JSON.stringify({ type: 'progress', step }))
      await written(data.writer.stream, Buffer.from(String(step)))
    }
    data.writer.sendMessage(JSON.stringify({ type: 'complete' }))
    data.writer.stream.end()
  },
  listen: async (data) => {
    const messages = []
    data.reader.onMessage((text) => messages.push(text))
    return { messages, body: (await data.reader.readAll()).toString() }
  },
  delegate: async (data) => {
    const channel = await createChannel(worker)
    const call = worker.trigger({
      function_id: data.to,
      payload: { deep: { list: [{ reader: channel.readerRef }] } },
    })
    for await (const chunk of data.in.stream) await written(channel.writer.stream, chunk)
    channel.writer.stream.end()
    return await call
  },
}

for (const [id, handler] of Object.entries(functions)) worker.registerFunction(`${name}::${id}`, handler)
