// Seals for iii workers written with the Node SDK: an end of stream that can be trusted.
//
//   for await (const chunk of verified(data.reader)) …       // throws where a plain reader would just stop
//   await sealed(data.writer, async (out) => { await out.write(chunk) })   // what it throws aborts the stream
//
// The format is docs/seal.md of the project `iii-cli`; its vectors are among the tests.

import { createHash, randomBytes } from 'node:crypto'
import { createXXHash128 } from 'hash-wasm'
import { WebSocket } from 'ws'

export const version = '0.1.0'

const BEAT_AFTER = 15_000 // ms without another frame before the writer sends a beat
const PEER_TIMEOUT = 60_000 // ms without a byte before the reader calls a sealed writer gone
const ABORT_WITHIN = 2_000 // ms that an abort is tried for
const RECEIPT_WITHIN = 5_000 // ms that a receipt may take
const CHUNK = 64 * 1024 // bytes of a binary frame, as the SDK writes them
const CHUNK_FAST = 256 * 1024 // where one takes less than FAST: no beat can pass a frame
const FAST = 1_000 // ms
const FRAME_MAX = 16 * 1024 * 1024 // bytes; the engine drops the connection for a longer frame
const QUEUE_MAX = 16 // frames that are kept before the socket is paused
const FOREVER = 2 ** 31 - 1 // ms, the longest timer

/** What is wrong with a stream. `exitStatus` is what `iii` ends with for the same. */
export class SealError extends Error {
  exitStatus = 1
  name = this.constructor.name
}

export class StreamTruncated extends SealError {
  exitStatus = 7
}

export class StreamAborted extends SealError {
  exitStatus = 7
  constructor(code, reason) {
    super(`aborted by the writer: ${reason || 'no reason given'}`)
    this.code = code
    this.reason = reason
  }
}

export class StreamUnsealed extends SealError {
  exitStatus = 7
}

export class StreamDamaged extends SealError {
  exitStatus = 8
}

export class StreamEmpty extends SealError {
  exitStatus = 6
}

export class StreamBroken extends SealError {
  exitStatus = 9
}

// The seal, without any I/O (docs: seal, "Frames" to "Verdict")

const COUNT_MAX = 2n ** 63n - 1n
const LONGEST = 16 * 1024 // bytes of a frame of the seal
const MODES = ['bytes', 'lines', 'text', 'records', 'jsonl']
const LOOKS = /^[ \t\r\n]*\{[ \t\r\n]*"iii"/
const CLAIM = /^[ \t\r\n]*\{[ \t\r\n]*"iii"[ \t\r\n]*:[ \t\r\n]*\{[ \t\r\n]*"v"[ \t\r\n]*:/
const DIGESTS = {
  xxh3_128: createXXHash128,
  sha256: async () => {
    const hash = createHash('sha256')
    return { update: (data) => hash.update(data), digest: () => hash.digest('hex') }
  },
}

/** `text` on one line, without control and bidirectional characters, at most 500 long. */
function printable(text) {
  const clean = text.slice(0, 1000).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu, ' ')
  return clean.split(/\s+/).filter(Boolean).join(' ').slice(0, 500)
}

/** The totals of one stream, as it goes by. They can be asked for once it is over. */
export class Counter {
  #digest
  #messagesDigest
  #head = Buffer.alloc(12)
  #totals
  bytes = 0
  messages = 0
  frames = 0

  static async create(digest, records) {
    const counter = new Counter()
    counter.records = records
    counter.#digest = await DIGESTS[digest]()
    counter.#messagesDigest = await DIGESTS[digest]()
    return counter
  }

  chunk(data) {
    this.#frame(0, data)
    this.#digest.update(data)
    this.bytes += data.length
  }

  /** `payload`: the UTF-8 of a text message. */
  message(payload) {
    if (this.#frame(1, payload)) this.#digest.update(payload)
    this.#head.writeBigUInt64BE(BigInt(this.bytes))
    this.#head.writeUInt32BE(payload.length, 8)
    this.#messagesDigest.update(this.#head)
    this.#messagesDigest.update(payload)
    this.messages += 1
  }

  #frame(kind, payload) {
    if (!this.records) return false
    this.#head.writeUInt8(kind)
    this.#head.writeUInt32BE(payload.length, 1)
    this.#digest.update(this.#head.subarray(0, 5))
    this.frames += 1
    return true
  }

  get totals() {
    this.#totals ??= {
      bytes: this.bytes,
      digest: this.#digest.digest(),
      messages: this.messages,
      messages_digest: this.#messagesDigest.digest(),
      ...(this.records ? { frames: this.frames } : {}),
    }
    return this.#totals
  }
}

const frame = (id, kind, body) => JSON.stringify({ iii: { v: 1, id, [kind]: body } })

class Malformed extends Error {}

/** JSON in which no key comes twice: objects as Maps, integers as BigInts. Throws SyntaxError. */
function parseOnce(text) {
  JSON.parse(text) // the syntax is right, so the tokens are too
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s"{}[\]:,]+/g)
  let at = 0
  const value = () => {
    const token = tokens[at++]
    if (token !== '{' && token !== '[') return /^-?\d+$/.test(token) ? BigInt(token) : JSON.parse(token)
    const [end, found] = token === '{' ? ['}', new Map()] : [']', []]
    while (tokens[at] !== end) {
      if (tokens[at] === ',') at += 1
      if (token === '[') found.push(value())
      else {
        const key = JSON.parse(tokens[at])
        if (found.has(key)) throw new SyntaxError('a key comes twice')
        at += 2
        found.set(key, value())
      }
    }
    at += 1
    return found
  }
  return value()
}

/** The id, kind and body of a seal's frame; undefined for a message. Throws Malformed. */
function parse(text, size) {
  if (size > LONGEST || !LOOKS.test(text)) return undefined
  let value
  try {
    value = parseOnce(text)
  } catch {
    if (CLAIM.test(text)) throw new Malformed('a seal frame that is not JSON')
    return undefined
  }
  const inner = value.get('iii')
  if (value.size !== 1 || !(inner instanceof Map) || !inner.has('v')) return undefined
  if (inner.size === 2 && inner.has('receipt')) return undefined
  if (inner.get('v') !== 1n) throw new Malformed('a seal of an unknown version')
  const kinds = [...inner.keys()].filter((key) => key !== 'v' && key !== 'id')
  const [id, kind, body] = [inner.get('id'), kinds[0], inner.get(kinds[0])]
  if (kinds.length !== 1 || !Object.hasOwn(RIGHT, kind) || !(body instanceof Map)) {
    throw new Malformed('a seal frame of an unknown kind')
  }
  if (typeof id !== 'string' || !/^[0-9a-f]{32}$/.test(id) || !RIGHT[kind](body)) {
    throw new Malformed(`a malformed ${kind} frame`)
  }
  return { id, kind, body }
}

const isCount = (value) => typeof value === 'bigint' && value >= 0n && value <= COUNT_MAX
const isText = (value) => typeof value === 'string'

const RIGHT = {
  open: (body) =>
    MODES.includes(body.get('mode')) &&
    isText(body.get('digest')) &&
    Object.hasOwn(DIGESTS, body.get('digest')) &&
    ((body.get('size') ?? null) === null || isCount(body.get('size'))) &&
    ((body.get('receipt') ?? null) === null || isWriter(body.get('receipt'))),
  beat: (body) => body.size === 1 && isCount(body.get('bytes')),
  close: (body) =>
    isCount(body.get('bytes')) &&
    isCount(body.get('messages')) &&
    isText(body.get('digest')) &&
    isText(body.get('messages_digest')) &&
    (body.size === 4 || (body.size === 5 && isCount(body.get('frames')))),
  abort: (body) => {
    const code = body.get('code')
    const right = typeof code === 'bigint' && code <= COUNT_MAX && code >= -COUNT_MAX
    return body.size === 2 && right && isText(body.get('reason'))
  },
}

function isWriter(ref) {
  if (!(ref instanceof Map) || ref.get('direction') !== 'write') return false
  return ['channel_id', 'access_key'].every((key) => isText(ref.get(key)) && ref.get(key))
}

/**
 * Takes every frame in order and knows how the stream ended. `chunk` and `message` return whether the frame is
 * data to hand on. When `finished` turns true, nothing more belongs to the stream. `failure` is the verdict then
 * and at the end of the connection: undefined means verified, or foreign where that is accepted.
 */
export class Verifier {
  #acceptUnsealed
  #allowEmpty
  #fresh
  #id = ''
  #last = Buffer.alloc(0) // message
  #fault
  state = 'nothing' // foreign, sealed, closed, failed
  counter
  opened

  static async create({ acceptUnsealed = false, allowEmpty = false } = {}) {
    const verifier = new Verifier()
    verifier.#acceptUnsealed = acceptUnsealed
    verifier.#allowEmpty = allowEmpty
    verifier.counter = await Counter.create('xxh3_128', false)
    // what the open frame may ask for: hash-wasm makes a digest asynchronously
    verifier.#fresh = { sha256: await Counter.create('sha256', false), xxh3_128: verifier.counter }
    return verifier
  }

  get finished() {
    return this.state === 'closed' || this.state === 'failed'
  }

  get verified() {
    return this.state === 'closed'
  }

  /** A binary message. */
  chunk(data) {
    if (!this.#data()) return false
    this.counter.chunk(data)
    return true
  }

  /** A text message, as its UTF-8. */
  message(payload) {
    if (payload.length <= LONGEST) {
      const text = payload.toString()
      let found
      try {
        found = parse(text, payload.length)
      } catch (problem) {
        if (!(problem instanceof Malformed)) throw problem
        if (text.includes(this.#id)) {
          // true of every text before the open frame
          this.#break(problem.message)
          return false
        }
      }
      if (found && (this.#id === '' || this.#id === found.id)) {
        this.#seal(found)
        return false
      }
    }
    if (!this.#data()) return false
    this.counter.message(payload)
    this.#last = payload
    return true
  }

  /** The verdict. `closeFrame`: did a WebSocket Close come? `silentFor`: ms after which the reader gave up. */
  failure({ closeFrame, silentFor }) {
    if (this.verified || this.#fault) return this.#fault
    const amount = `${this.counter.bytes} bytes and ${this.counter.messages} messages`
    if (this.state === 'sealed') {
      if (silentFor !== undefined) {
        return new StreamTruncated(`the writer vanished: ${silentFor / 1000} s of silence after ${amount}`)
      }
      return new StreamTruncated(`truncated: the stream ended after ${amount} without its close frame`)
    }
    const error = soleError(this.#last)
    if (error !== undefined) return new StreamAborted(1, error)
    if (!closeFrame) return new StreamTruncated(`the connection broke after ${amount}`)
    if (this.state === 'nothing' && !this.#allowEmpty) {
      return new StreamEmpty('nothing arrived: the ref was already used, or expired, or the writer sent nothing')
    }
    return this.#acceptUnsealed ? undefined : new StreamUnsealed('the writer sent no seal')
  }

  #data() {
    if (this.state === 'nothing') {
      this.state = 'foreign'
      if (!this.#acceptUnsealed) {
        this.#fault = new StreamUnsealed('the writer sent no seal')
        this.state = 'failed'
      }
    } else if (this.state === 'closed') this.#break('the stream went on after its close frame')
    return !this.finished
  }

  #break(why) {
    if (this.state === 'failed') return // nothing mends or worsens a stream that has failed
    this.#fault = new StreamDamaged(`not what the writer sealed: ${why}`)
    this.state = 'failed'
  }

  #seal({ id, kind, body }) {
    if (this.state === 'nothing' && kind === 'open') {
      this.#id = id
      this.state = 'sealed'
      this.opened = Object.fromEntries(body)
      this.counter = this.#fresh[this.opened.digest]
      this.counter.records = this.opened.mode === 'records'
    } else if (this.state !== 'sealed') this.#break('a frame of the seal is in the wrong place')
    else if (kind === 'open') this.#break('the open frame came twice')
    else if (kind === 'abort') {
      this.#fault = new StreamAborted(Number(body.get('code')), printable(body.get('reason')))
      this.state = 'failed'
    } else if (kind === 'beat') {
      const { bytes } = this.counter
      if (body.get('bytes') !== BigInt(bytes)) {
        this.#break(`the writer had sent ${body.get('bytes')} bytes, ${bytes} arrived`)
      }
    } else {
      const totals = Object.entries(this.counter.totals)
      const wrong = totals.filter(([name, total]) => String(body.get(name)) !== String(total))
      if (!wrong.length && totals.length === body.size) this.state = 'closed'
      else this.#break(`${wrong[0]?.[0] ?? 'frames'} of the close frame differs from what arrived`)
    }
  }
}

/** The text of an object whose only key is `error`: the engine's own streams fail so. */
function soleError(payload) {
  try {
    const value = JSON.parse(payload)
    if (typeof value !== 'object' || Array.isArray(value) || Object.keys(value).join() !== 'error') return undefined
    return printable(isText(value.error) ? value.error : JSON.stringify(value.error))
  } catch {
    return undefined
  }
}

// Sockets. The SDK hands texts on before the data that came before them, lets a message overtake what its stream
// has queued, and does not say how a connection ended. So the socket is opened here, as the SDK would, and
// handed over.

function connect(url) {
  // without a limit to the close handshake: the engine answers when the reader has made room for the rest
  const ws = new WebSocket(url, { handshakeTimeout: 10_000, perMessageDeflate: false, closeTimeout: FOREVER })
  ws.on('error', () => {}) // whoever waits has a listener of his own
  return ws
}

const opened = (ws) =>
  new Promise((resolve, reject) => {
    ws.once('open', resolve)
    ws.once('error', reject)
  })

/** The socket of an SDK end, from then on the SDK's too. */
function take(end) {
  if (!isText(end.url) || !('ws' in end)) throw new Error(`iii-seal ${version} does not know this iii-sdk`)
  if (end.ws) throw new Error('the end of the channel is already in use')
  const ws = connect(end.url)
  end.ws = ws
  end.connected = true // as a reader
  ws.once('open', () => (end.wsReady = true)) // as a writer
  return ws
}

const send = (ws, data, options) =>
  new Promise((resolve, reject) => {
    if (ws.readyState !== WebSocket.OPEN) reject(new StreamBroken('the connection was lost'))
    else {
      ws.send(data, options, (error) =>
        error ? reject(new StreamBroken(`the connection was lost: ${error.message}`)) : resolve(),
      )
    }
  })

/** Close, and wait for the answer: is it the engine's echo? */
const close = (ws, reason) =>
  new Promise((resolve) => {
    if (ws.readyState === WebSocket.CLOSED) return resolve(false)
    ws.once('close', (code, said) => resolve(code === 1000 && said.toString() === reason))
    ws.close(1000, reason)
  })

/** What `work` does within that time; after it the connection is dropped. */
async function within(ms, ws, work) {
  const timer = setTimeout(() => ws.terminate(), ms)
  try {
    await work()
  } catch {
    // the other side sees a connection that broke
  } finally {
    clearTimeout(timer)
    ws.terminate()
  }
}

// Writing

/** The writer of a sealed stream. Every frame waits for the one before it. */
class Sealed {
  #ws
  #id = randomBytes(16).toString('hex')
  #opening
  #counter
  #tail = Promise.resolve()
  #waiting = 0
  #sent = 0
  #chunk = CHUNK
  #ended = false
  #failure
  #beating

  constructor(ws, opening) {
    this.#ws = ws
    this.#opening = opening
  }

  async open() {
    await opened(this.#ws)
    this.#counter = await Counter.create(this.#opening.digest, this.#opening.mode === 'records')
    await this.#next(() => this.#seal('open', this.#opening))
    this.#beating = setInterval(() => {
      const due = Date.now() - this.#sent >= BEAT_AFTER && !this.#waiting && !this.#ended
      if (due) this.#next(() => this.#seal('beat', { bytes: this.#counter.bytes }))
    }, BEAT_AFTER / 30)
    this.#beating.unref()
  }

  /** Send bytes; in mode `records` they are one record. */
  write(data) {
    const bytes = isText(data) ? Buffer.from(data) : data
    if (this.#opening.mode === 'records') return this.#data(() => this.#binary(bytes))
    return this.#data(async () => {
      for (let at = 0; at < bytes.length; ) {
        const [part, began] = [bytes.subarray(at, at + this.#chunk), performance.now()]
        await this.#binary(part)
        at += part.length
        this.#chunk = performance.now() - began < FAST ? CHUNK_FAST : CHUNK
      }
    })
  }

  async #binary(data) {
    if (data.length > FRAME_MAX) throw new RangeError('one message is at most 16 MiB')
    this.#counter.chunk(data)
    await send(this.#ws, data, { binary: true })
  }

  /** Send one text message. */
  sendMessage(text) {
    const payload = Buffer.from(text)
    return this.#data(async () => {
      if (payload.length > FRAME_MAX) throw new RangeError('one message is at most 16 MiB')
      this.#counter.message(payload)
      await send(this.#ws, payload, { binary: false })
    })
  }

  /** End the stream as failed: its reader hears code and reason. */
  async abort(code, reason) {
    if (this.#ended) return
    this.#ended = true
    clearInterval(this.#beating)
    await within(ABORT_WITHIN, this.#ws, async () => {
      await this.#tail
      await this.#seal('abort', { code, reason: printable(reason) })
      await close(this.#ws, 'aborted')
    })
  }

  /** Seal the stream; resolves when the engine has everything. Rejects with the first failure of a write. */
  async close() {
    if (this.#ended) return
    await this.#tail
    if (this.#failure) throw this.#failure
    this.#ended = true
    clearInterval(this.#beating)
    await this.#seal('close', this.#counter.totals)
    if (!(await close(this.#ws, 'sealed'))) {
      throw new StreamBroken('the engine did not take the whole stream: the writer end was already taken, or the reader left')
    }
  }

  #data(work) {
    return this.#next(() => {
      if (this.#ended) throw new StreamBroken('the stream has ended')
      if (this.#failure) throw this.#failure
      return work()
    })
  }

  /** Do `work` when all before it is done. A failure is kept: `close` rejects even if nobody awaited a write. */
  #next(work) {
    this.#waiting += 1
    const done = this.#tail.then(work).finally(() => {
      this.#waiting -= 1
      this.#sent = Date.now()
    })
    this.#tail = done.catch((error) => {
      this.#failure ??= error
    })
    return done
  }

  #seal(kind, body) {
    return send(this.#ws, frame(this.#id, kind, body), {})
  }
}

/**
 * A stream whose end its reader can trust: `await sealed(writer, async (out) => { await out.write(chunk) })`.
 * It is sealed when `body` resolves, and aborted with the reason when it rejects.
 */
export async function sealed(writer, body, { mode = 'bytes', digest = 'xxh3_128', size } = {}) {
  const known = mode === 'jsonl' ? 'records' : mode // as the option of `iii`
  if (!MODES.includes(known) || !Object.hasOwn(DIGESTS, digest)) throw new TypeError('an unknown mode or digest')
  const ws = take(writer)
  const out = new Sealed(ws, { mode: known, digest, ...(size === undefined ? {} : { size }) })
  try {
    await out.open()
    const result = await body(out)
    await out.close()
    return result
  } catch (error) {
    await out.abort(error?.exitStatus ?? 1, error?.message || String(error))
    throw error
  } finally {
    ws.terminate()
    writer.stream?.destroy()
  }
}

// Reading

class Verified {
  #reader
  #options
  #verifier
  #receipt
  #willConfirm = false
  #failure

  constructor(reader, options) {
    this.#reader = reader
    this.#options = options
  }

  /** How the writer framed its data. Undefined before the first frame and for a writer without a seal. */
  get mode() {
    return this.#verifier?.opened?.mode
  }

  /** Has the whole stream arrived as its writer sealed it? */
  get verified() {
    return this.#verifier?.verified ?? false
  }

  async readAll() {
    const chunks = []
    for await (const chunk of this) chunks.push(chunk)
    return Buffer.concat(chunks)
  }

  /** `await verified(reader).confirm(async (data) => …)`: tells a writer that asked for a receipt how it ended. */
  async confirm(body) {
    this.#willConfirm = true
    try {
      const result = await body(this)
      if (this.#failure) await this.#answer(this.#failure)
      else await this.#answer(this.verified ? undefined : { message: 'stopped early' })
      return result
    } catch (error) {
      await this.#answer({ exitStatus: error?.exitStatus ?? 1, message: error?.message || String(error) })
      throw error
    }
  }

  async *[Symbol.asyncIterator]() {
    const { unsealed, allowEmpty, peerTimeout = PEER_TIMEOUT } = this.#options
    this.#verifier = await Verifier.create({ acceptUnsealed: unsealed === 'accept', allowEmpty })
    const frames = new Frames(take(this.#reader))
    let outcome = { message: 'stopped early' }
    try {
      await frames.open()
      yield* this.#data(frames, peerTimeout)
      outcome = { message: this.verified ? 'verified, not confirmed' : 'not verified' }
    } catch (error) {
      outcome = this.#failure = error
      throw error
    } finally {
      frames.drop()
      this.#reader.stream?.destroy()
      if (!this.#willConfirm) await this.#answer(outcome)
    }
  }

  async *#data(frames, peerTimeout) {
    const verifier = this.#verifier
    while (!verifier.finished) {
      const next = await frames.next(verifier.opened && peerTimeout)
      if (!next) break
      const [payload, isBinary] = next
      if (isBinary) {
        if (verifier.chunk(payload)) yield payload
      } else if (verifier.message(payload)) await this.#handOn(payload.toString())
      else if (verifier.opened && !this.#receipt) this.#holdReceipt(verifier.opened)
    }
    const silentFor = frames.vanished ? peerTimeout : undefined
    const failure = verifier.failure({ closeFrame: frames.closeFrame, silentFor })
    if (failure) throw failure
  }

  async #handOn(message) {
    const { onMessage } = this.#options
    for (const callback of onMessage ? [onMessage] : (this.#reader.messageCallbacks ?? [])) await callback(message)
  }

  #holdReceipt({ receipt, receipt_beat }) {
    if (!receipt) return
    const every = ['bigint', 'number'].includes(typeof receipt_beat) ? Number(receipt_beat) : 0
    const counter = this.#verifier.counter
    const url = writerUrl(this.#reader.url, receipt.get('channel_id'), receipt.get('access_key'))
    this.#receipt = new Receipt(url, every, () => ({
      bytes: counter.bytes,
      ...(this.#willConfirm ? {} : { will_confirm: false }),
    }))
  }

  async #answer(failure) {
    const totals = this.#receipt && this.#verifier.counter.totals
    const { exitStatus: code, message = '' } = failure ?? {}
    const why = failure && { ...(code === undefined ? {} : { code }), reason: printable(message) }
    await this.#receipt?.answer({ committed: !failure, ...totals, ...why })
    this.#receipt = undefined
  }
}

/** The frames of a socket in the order of the wire, no more of them at a time than a few. */
class Frames {
  #ws
  #queue = []
  #wake
  #over = false
  #opened
  closeFrame = false
  vanished = false

  constructor(ws) {
    this.#ws = ws
    this.#opened = opened(ws)
    this.#opened.catch(() => {})
    let broken = false
    ws.on('message', (data, isBinary) => {
      this.#queue.push([data, isBinary])
      if (this.#queue.length >= QUEUE_MAX) ws.pause()
      this.#wake?.()
    })
    ws.on('error', () => (broken = true))
    ws.on('close', (code) => {
      this.#over = true
      this.closeFrame = code !== 1006 && !broken
      this.#wake?.()
    })
  }

  open() {
    return this.#opened
  }

  /** The next frame; undefined at the end. `patience`: ms of silence after which that is now. */
  async next(patience) {
    while (!this.#queue.length) {
      if (this.#over) return undefined
      if (this.#ws.isPaused) this.#ws.resume()
      // Ten looks at what the socket has got, so that a process that was stopped takes a look before it gives up,
      // and the bytes of a frame that is not yet whole count as life.
      let [silent, got] = [0, this.#ws._socket?.bytesRead]
      const looking = patience && setInterval(() => {
        const now = this.#ws._socket?.bytesRead
        silent = now === got ? silent + 1 : 0
        got = now
        if (silent < 10) return
        this.vanished = true
        this.#ws.terminate()
      }, patience / 10)
      await new Promise((resolve) => (this.#wake = resolve))
      clearInterval(looking)
    }
    if (this.#ws.isPaused && this.#queue.length <= QUEUE_MAX / 2) this.#ws.resume()
    return this.#queue.shift()
  }

  drop() {
    this.#ws.terminate()
  }
}

function writerUrl(readerUrl, channelId, key) {
  const [base, query] = readerUrl.split('?')
  const kept = query.split('&').filter((part) => !/^(key|dir)=/.test(part))
  kept.push(`key=${encodeURIComponent(key)}`, 'dir=write')
  return `${base.slice(0, base.lastIndexOf('/'))}/${encodeURIComponent(channelId)}?${kept.join('&')}`
}

/**
 * The writer end that the open frame named: opened when it comes, held until there is something to say. What goes
 * wrong here is the writer's loss and never throws.
 */
class Receipt {
  #ws
  #opened
  #beating

  constructor(url, every, has) {
    this.#ws = connect(url)
    this.#opened = opened(this.#ws).then(() => {
      if (!(every > 0 && every <= 3600)) return
      const beat = () => send(this.#ws, receiptFrame({ beat: has() }), {}).catch(() => {})
      beat()
      this.#beating = setInterval(beat, every * 1000)
    })
    this.#opened.catch(() => {})
  }

  async answer(receipt) {
    await within(RECEIPT_WITHIN, this.#ws, async () => {
      await this.#opened
      clearInterval(this.#beating)
      await send(this.#ws, receiptFrame(receipt), {})
      await close(this.#ws, 'receipt')
    })
    clearInterval(this.#beating)
  }
}

const receiptFrame = (receipt) => JSON.stringify({ iii: { v: 1, receipt } })

/**
 * `for await (const chunk of verified(reader))`: the data as it comes, and an error in place of a clean end. Until
 * the loop has ended by itself nothing is verified: leaving it early verifies nothing.
 */
export function verified(reader, options = {}) {
  return new Verified(reader, options)
}
