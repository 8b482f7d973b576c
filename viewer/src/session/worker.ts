import { cachedSource } from "../../../src/open/session/cached-source.js";
import { sourceInput } from "../../../src/open/session/input.js";
import type { Call } from "../../../src/open/session/protocol.js";
import { rangeSource } from "../../../src/open/session/range-source.js";
import { answer } from "../../../src/open/session/serve.js";
import { Session } from "../../../src/open/session/session.js";
import type { ByteSource } from "../../../src/io/byte-source.js";
import { syncBlobSource } from "./blob-source.js";
import { unpacked } from "./unpack.js";
import type { WorkerInput } from "./worker-client.js";

/** Blocks of files on this computer and of those that each cost a journey. */
const LOCAL = { block: 64 << 10, blocks: 512, ahead: 32 };
const REMOTE = { block: 128 << 10, blocks: 128, ahead: 16 };

type Message = { readonly start: WorkerInput } | Call;

let session: Session | undefined;

async function open(input: WorkerInput): ReturnType<typeof sourceInput> {
  const plain: ByteSource =
    input.kind === "blob"
      ? cachedSource(syncBlobSource(input.blob, input.name), LOCAL)
      : cachedSource(await rangeSource(input.url, input.name), REMOTE);
  const { blob, compression } = await unpacked(plain);
  const source = blob === undefined ? plain : cachedSource(syncBlobSource(blob, input.name), LOCAL);
  return sourceInput(source, { compression });
}

self.addEventListener("message", ({ data }: MessageEvent<Message>) => {
  if ("start" in data) {
    session = new Session(() => open(data.start));
    return;
  }
  if (session === undefined) return;
  void answer(session, data, (reply) => {
    self.postMessage(reply);
  });
});
