// An unmodified npm SDK worker that calls a served filter with channels of its own.
//
// nodecaller::through {function, size}   sends that many bytes through it
// nodecaller::chain {function, size}     the same, and pycaller::digest reads what comes out
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { once } from "node:events";
import { pathToFileURL } from "node:url";
import { join } from "node:path";

const require = createRequire(join(process.env.SDK_FOLDER, "index.js"));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { registerWorker } = await load("iii-sdk");
const { createChannel } = await load("iii-sdk/helpers");

const worker = registerWorker(process.argv[2], { workerName: "node-caller" });
const CHUNK = Buffer.alloc(65536, "abcdefgh");

async function send(writer, size) {
  for (let left = size; left > 0; left -= CHUNK.length) {
    if (!writer.stream.write(CHUNK.subarray(0, left))) await once(writer.stream, "drain");
  }
  writer.stream.end();
}

async function start(data) {
  const source = await createChannel(worker);
  const target = await createChannel(worker);
  const call = worker.trigger({
    function_id: data.function,
    payload: { stdin: source.readerRef, stdout: target.writerRef },
    timeoutMs: 60000,
  });
  return { target, call, sending: send(source.writer, data.size) };
}

worker.registerFunction("nodecaller::through", async (data) => {
  const { target, call, sending } = await start(data);
  const out = await target.reader.readAll();
  await sending;
  return { sha256: createHash("sha256").update(out).digest("hex"), bytes: out.length, result: await call };
});

worker.registerFunction("nodecaller::chain", async (data) => {
  const { target, call, sending } = await start(data);
  const digest = worker.trigger({
    function_id: "pycaller::digest",
    payload: { reader: target.readerRef },
    timeoutMs: 60000,
  });
  await sending;
  return { ...(await digest), result: await call };
});
