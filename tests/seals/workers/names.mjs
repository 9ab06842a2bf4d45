// What iii-seal needs of the SDK's ends, as JSON: they are private.
import { createRequire } from 'node:module'

const { ChannelReader, ChannelWriter } = createRequire(import.meta.url)('iii-sdk/channel')
const ref = { channel_id: 'id', access_key: 'key', direction: 'read' }
const of = ({ url, ws, connected, wsReady, messageCallbacks }) => ({ url, ws, connected, wsReady, messageCallbacks })
const ends = [ChannelReader, ChannelWriter].map((Kind) => of(new Kind('ws://localhost:1/', ref)))
console.log(JSON.stringify(ends))
