// `node vectors.mjs FILE`: what iii-seal says of the vectors, as JSON.
import { readFileSync } from 'node:fs'
import { Counter, Verifier } from 'iii-seal'

const file = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const streams = []
for (const vector of file.streams) {
  const verifier = await Verifier.create({
    acceptUnsealed: !vector.require_seal,
    allowEmpty: vector.allow_empty ?? false,
  })
  const delivered = []
  for (const [index, [kind, payload]] of vector.frames.entries()) {
    const data =
      kind === 'binary' ? verifier.chunk(Buffer.from(payload, 'hex')) : verifier.message(Buffer.from(payload))
    if (data) delivered.push(index)
  }
  const silentFor = vector.end === 'silence' ? 60_000 : undefined
  const failure = verifier.failure({ closeFrame: vector.end === 'close', silentFor })
  const { totals } = verifier.counter
  const { verified } = verifier
  streams.push({ exit: failure?.exitStatus ?? 0, text: failure?.message ?? '', verified, delivered, totals })
}

const totals = []
for (const { frames } of file.totals.vectors) {
  const both = {}
  for (const mode of ['records', 'jsonl']) {
    const counter = await Counter.create(file.totals.digest, mode === 'records')
    for (const [kind, payload] of frames) {
      if (kind === 'binary') counter.chunk(Buffer.from(payload, 'hex'))
      else counter.message(Buffer.from(payload))
    }
    both[mode] = counter.totals
  }
  totals.push(both)
}
console.log(JSON.stringify({ streams, totals }))
