import type { Readable, Writable } from 'node:stream'

// The SDK's classes by their shape: it has them twice, for `import` and for `require`, with private members.
/** `ChannelReader` of iii-sdk. */
export interface Reader {
  readonly stream: Readable
  onMessage(callback: (message: string) => void): void
}
/** `ChannelWriter` of iii-sdk. */
export interface Writer {
  readonly stream: Writable
  sendMessage(message: string): void
}

/** What is wrong with a stream. `exitStatus` is what `iii` ends with for the same. */
export class SealError extends Error {
  readonly exitStatus: number
}
/** The stream has no end: its writer died or vanished, or the connection broke. */
export class StreamTruncated extends SealError {}
/** The writer said that it failed: its exit status, and one line for people. */
export class StreamAborted extends SealError {
  constructor(code: number, reason: string)
  readonly code: number
  readonly reason: string
}
/** The writer sends no seal, so the end of its stream cannot be verified. */
export class StreamUnsealed extends SealError {}
/** What arrived is not what the writer sealed. */
export class StreamDamaged extends SealError {}
/** Nothing at all arrived: the ref was already used, or expired, or the writer sent nothing. */
export class StreamEmpty extends SealError {}
/** The stream could not be handed to the engine: the end was already taken, or the reader left. */
export class StreamBroken extends SealError {}

export type Mode = 'bytes' | 'lines' | 'text' | 'records'

export interface Sealed {
  /** Send bytes; in mode `records` they are one record. Resolves when the system has taken them. */
  write(data: Uint8Array | string): Promise<void>
  /** Send one text message. */
  sendMessage(text: string): Promise<void>
  /** End the stream as failed: its reader hears code and reason. */
  abort(code: number, reason: string): Promise<void>
  /** Seal the stream now; done by `sealed` when the body resolves. */
  close(): Promise<void>
}

/**
 * A stream whose end its reader can trust. `writer` was not used yet. When `body` resolves the stream is sealed,
 * and when it rejects the stream is aborted with that reason. Resolves when the engine has everything.
 */
export function sealed<T>(
  writer: Writer,
  body: (out: Sealed) => Promise<T>,
  options?: {
    /** What the data is. `jsonl` is `records`, as the option of `iii`. */
    mode?: Mode | 'jsonl'
    digest?: 'xxh3_128' | 'sha256'
    /** How many bytes are to come, for a progress bar. */
    size?: number
  },
): Promise<T>

export interface Verified extends AsyncIterable<Buffer> {
  /** How the writer framed its data; undefined before the first frame and without a seal. */
  readonly mode: Mode | 'jsonl' | undefined
  /** Has the whole stream arrived as its writer sealed it? */
  readonly verified: boolean
  readAll(): Promise<Buffer>
  /** Confirms the stream to a writer that asked for a receipt when `body` resolves, and says why not otherwise. */
  confirm<T>(body: (data: Verified) => Promise<T>): Promise<T>
}

/**
 * The data as it comes, and a SealError in place of a clean end. `reader` was not used yet. Leaving the loop early
 * verifies nothing.
 */
export function verified(
  reader: Reader,
  options?: {
    /** What to do with a writer without a seal: StreamUnsealed before the first chunk, or take it as it is. */
    unsealed?: 'refuse' | 'accept'
    /** Nothing at all is no error. */
    allowEmpty?: boolean
    /** Gets the text messages, in order with the data; else the callbacks of the reader's own `onMessage` do. */
    onMessage?: (message: string) => void | Promise<void>
    /** Milliseconds without a byte after which a sealed writer counts as gone. */
    peerTimeout?: number
  },
): Verified

/** The totals of one stream, as it goes by. */
export class Counter {
  static create(digest: 'xxh3_128' | 'sha256', records: boolean): Promise<Counter>
  chunk(data: Uint8Array): void
  message(payload: Uint8Array): void
  readonly totals: { bytes: number; digest: string; messages: number; messages_digest: string; frames?: number }
}

/** The verdict on a stream whose frames come from elsewhere. */
export class Verifier {
  static create(options?: { acceptUnsealed?: boolean; allowEmpty?: boolean }): Promise<Verifier>
  readonly finished: boolean
  readonly verified: boolean
  readonly counter: Counter
  /** A binary message; is it data to hand on? */
  chunk(data: Uint8Array): boolean
  /** A text message as UTF-8; is it data to hand on? */
  message(payload: Buffer): boolean
  failure(end: { closeFrame: boolean; silentFor?: number }): SealError | undefined
}

export const version: string
