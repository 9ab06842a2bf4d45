// `node_sdk.mjs write|read URL CHANNEL_ID ACCESS_KEY [lines]`: what a program with the Node SDK does.
// NODE_SDK names the folder of `npm install iii-sdk`.
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { createReadStream, createWriteStream } from 'node:fs'
import { pipeline } from 'node:stream/promises'

const { ChannelReader, ChannelWriter } = createRequire(`${process.env.NODE_SDK}/`)('iii-sdk/channel')
const [direction, url, channel_id, access_key, lines] = process.argv.slice(2)
const end = { channel_id, access_key, direction }

if (direction === 'write') {
  const writer = new ChannelWriter(url, end)
  if (lines) {
    for await (const line of createInterface({ input: createReadStream('', { fd: 0 }) })) writer.sendMessage(line)
    writer.close()
  } else {
    await pipeline(createReadStream('', { fd: 0, highWaterMark: 1 << 20 }), writer.stream)
  }
} else {
  const reader = new ChannelReader(url, end)
  if (lines) {
    reader.onMessage((text) => process.stdout.write(`${text}\n`))
    reader.stream.resume()
  } else {
    await pipeline(reader.stream, createWriteStream('', { fd: 1 }))
  }
}
