// A worker of the Node SDK with seals and without: `node worker.mjs URL PREFIX`; see worker.py.
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { sealed, verified } from 'iii-seal'

const { registerWorker } = createRequire(import.meta.url)('iii-sdk')
const [url, prefix] = process.argv.slice(2)
const worker = registerWorker(url, { workerName: `${prefix}-seals` })
const ZEROS = Buffer.alloc(1 << 20)

async function read(data, chunks, messages, source) {
  let bytes = 0
  for await (const chunk of chunks) {
    bytes += chunk.length
    if (data.pause) await sleep(data.pause * 1000)
    delete data.pause
    if (bytes >= (data.leave_after ?? Infinity)) break
  }
  return { bytes, messages, mode: source?.mode ?? null }
}

async function write(data, put, say) {
  for (const [kind, payload] of data.items ?? []) {
    await (kind === 'text' ? say(payload) : put(Buffer.from(payload, 'hex')))
  }
  for (let left = data.bytes ?? 0; left > 0; left -= ZEROS.length) await put(ZEROS.subarray(0, left))
  for (let tick = 0; tick < (data.ticks ?? 0); tick++) {
    await put(Buffer.from(`${tick}\n`))
    await sleep((data.every ?? 1) * 1000)
  }
  if (data.fail) throw new Error(data.fail)
}

function options({ unsealed, peer_timeout } = {}) {
  return { unsealed, peerTimeout: peer_timeout && peer_timeout * 1000 }
}

async function produce(data) {
  const { mode, options, within } = data
  const body = (out) => {
    const written = write(data, (it) => out.write(it), (it) => out.sendMessage(it))
    if (!within) return written
    written.catch(() => {}) // it goes on
    return Promise.race([written, sleep(within * 1000).then(() => Promise.reject(new Error('too late')))])
  }
  await sealed(data.stdout, body, { mode, ...options })
}

const functions = {
  count: async (data) => {
    const messages = []
    const onMessage = (text) => void messages.push(text)
    const source = verified(data.stdin, { onMessage, ...options(data.options) })
    return await read(data, source, messages, source)
  },
  keep: async (data) => {
    const messages = []
    const onMessage = (text) => void messages.push(text)
    return await verified(data.stdin, { onMessage }).confirm(async (source) => {
      const result = await read(data, source, messages, source)
      await sleep((data.commit ?? 0) * 1000)
      if (data.fail) throw new Error(data.fail)
      return result
    })
  },
  plain_count: async (data) => {
    const messages = []
    data.stdin.onMessage((text) => messages.push(text))
    return await read(data, data.stdin.stream, messages)
  },
  produce: async (data) => {
    if (data.later) produce(data)
    else await produce(data)
    return null
  },
  plain_produce: async (data) => {
    const { stream } = data.stdout
    const put = async (it) => {
      if (!stream.write(it)) await new Promise((resolve) => stream.once('drain', resolve))
    }
    await write(data, put, async (it) => data.stdout.sendMessage(it))
    await new Promise((resolve) => stream.end(resolve))
    return null
  },
  upper: async (data) => {
    await sealed(data.stdout, async (out) => {
      for await (const chunk of verified(data.stdin)) {
        await out.write(Buffer.from(chunk.toString('latin1').toUpperCase(), 'latin1'))
      }
    })
    return null
  },
}

for (const [id, handler] of Object.entries(functions)) worker.registerFunction(`${prefix}::${id}`, handler)
