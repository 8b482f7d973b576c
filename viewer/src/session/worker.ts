import { sourceInput } from "../../../src/open/session/input.js";
import type { Call } from "../../../src/open/session/protocol.js";
import { problemOf } from "../../../src/open/session/problem.js";
import { answer } from "../../../src/open/session/serve.js";
import { Session } from "../../../src/open/session/session.js";
import type { ByteSource } from "../../../src/io/byte-source.js";
import { GatheredBlob } from "../../../src/io/web/gathered-blob.js";
import { unpackToBlob } from "../../../src/io/web/unpack.js";
import { syncBlobSource } from "./blob-source.js";
import { cachedSource } from "./cached-source.js";
import { Freshness } from "./freshness.js";
import { pacedSource } from "./paced-source.js";
import type { WorkerInput } from "./worker-client.js";

/** 16 KiB where reading jumps to, up to 2 MiB in order, 32 MiB in all. */
const CACHE = { sector: 4096, jump: 4, ahead: 512, together: 32, keep: 8192 };

/** Other calls wait no longer than this for one that reads on and on. */
const TURN_MS = 40;

type Message = { readonly start: WorkerInput } | Call;

let session: Session | undefined;
const freshness = new Freshness();

const blobInput = (blob: Blob, name: string): ByteSource =>
  pacedSource(cachedSource(syncBlobSource(blob, name), CACHE), TURN_MS);

/** A file of a server: by ranges, or whole where the server gives none. */
async function webInput(url: string, name: string): Promise<ByteSource> {
  const { HttpSource, openHttp } = await import("../../../src/io/web/http.js");
  const { input } = await openHttp(url);
  if (!(input instanceof HttpSource)) {
    const whole = new GatheredBlob((blob) => blobInput(blob, name));
    const { damage } = await whole.store(input, 0);
    if (damage !== undefined) throw damage;
    return whole.source();
  }
  freshness.check = () => input.check();
  return input;
}

/** A file of this computer. */
function chosenInput(blob: Blob, name: string): ByteSource {
  const start = syncBlobSource(blob, name);
  const byte = new Uint8Array(1);
  freshness.check = async () => void start.read(0, byte);
  return blobInput(blob, name);
}

async function open(input: WorkerInput): ReturnType<typeof sourceInput> {
  const plain =
    input.kind === "blob" ? chosenInput(input.blob, input.name) : await webInput(input.url, input.name);
  const source = (await unpackToBlob(plain, (blob) => blobInput(blob, input.name))) ?? plain;
  return sourceInput(source, { compression: source.packed?.compression });
}

/** Answers a call, unless the file is no longer the one that was opened: what is kept of it would be shown without a word. */
async function answerFresh(current: Session, call: Call): Promise<void> {
  try {
    await freshness.ensure();
  } catch (error) {
    self.postMessage({ id: call.id, kind: "error", problem: problemOf(error) });
    return;
  }
  await answer(current, call, (reply) => {
    self.postMessage(reply);
  });
}

self.addEventListener("message", ({ data }: MessageEvent<Message>) => {
  if ("start" in data) {
    session = new Session(() => open(data.start));
    return;
  }
  if (session !== undefined) void answerFresh(session, data);
});
