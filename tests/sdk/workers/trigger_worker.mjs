// An unmodified npm SDK worker for `iii trigger` to call. Run with the engine's URL.
//
// bulk-importer::import_csv {reader}      the engine's tutorial: rows of a CSV, counted as they come
// img::shrink {input, output}             every byte in, every second byte out, progress texts beside them
// llm::chat {tokens, every, stream}       a text message every so many milliseconds, which says when it was sent
// node::echo {stdin, stdout}              bytes as they are
// node::write_first {size, stdin, stdout} all of its output, then its input
import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'

const require = createRequire(pathToFileURL(process.env.SDK_FOLDER + '/'))
const { registerWorker } = require('iii-sdk')
const worker = registerWorker(process.argv[2], { workerName: 'trigger-node' })
const BLOCK = Buffer.alloc(1 << 20, 'abcdefgh')

async function written(stream, chunk) {
  if (!stream.write(chunk)) await new Promise((resolve) => stream.once('drain', resolve))
}

const functions = {
  'bulk-importer::import_csv': async ({ reader }) => {
    let rest = ''
    let rows = -1 // the header
    for await (const chunk of reader.stream) {
      const lines = (rest + chunk.toString()).split('\n')
      rest = lines.pop()
      rows += lines.length
    }
    return { imported: rows + (rest ? 1 : 0) }
  },
  'img::shrink': async ({ input, output }) => {
    let bytes = 0
    let told = 0
    for await (const chunk of input.stream) {
      const half = Buffer.allocUnsafe(Math.floor((chunk.length + 1 - (bytes % 2)) / 2))
      for (let at = bytes % 2, to = 0; at < chunk.length; at += 2) half[to++] = chunk[at]
      await written(output.stream, half)
      bytes += chunk.length
      if (bytes - told >= 50 << 20) {
        told = bytes
        output.sendMessage(JSON.stringify({ type: 'progress', bytes }))
      }
    }
    output.stream.end()
    return { bytes }
  },
  'llm::chat': async ({ tokens, every, stream }) => {
    for (let at = 0; at < tokens; at++) {
      await sleep(every)
      stream.sendMessage(`${Date.now()} `)
    }
    stream.close()
    return { tokens }
  },
  'node::echo': async ({ stdin, stdout }) => {
    let bytes = 0
    for await (const chunk of stdin.stream) {
      await written(stdout.stream, chunk)
      bytes += chunk.length
    }
    stdout.stream.end()
    return { bytes }
  },
  'node::write_first': async ({ size, stdin, stdout }) => {
    for (let left = size; left > 0; left -= BLOCK.length) await written(stdout.stream, BLOCK.subarray(0, left))
    stdout.stream.end()
    const seen = createHash('sha256')
    for await (const chunk of stdin.stream) seen.update(chunk)
    return { sha256: seen.digest('hex') }
  },
}

for (const [id, handler] of Object.entries(functions)) worker.registerFunction(id, handler)
