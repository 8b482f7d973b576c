import { sourceInput } from "../../../src/open/session/input.js";
import type { Call } from "../../../src/open/session/protocol.js";
import { answer } from "../../../src/open/session/serve.js";
import { Session } from "../../../src/open/session/session.js";
import type { ByteSource } from "../../../src/io/byte-source.js";
import { syncBlobSource } from "./blob-source.js";
import { cachedSource } from "./cached-source.js";
import { gathered } from "./gather.js";
import { pacedSource } from "./paced-source.js";
import { unpacked } from "./unpack.js";
import type { WorkerInput } from "./worker-client.js";

/** 16 KiB where reading jumps to, up to 2 MiB in order, 32 MiB in all. */
const CACHE = { sector: 4096, jump: 4, ahead: 512, together: 32, keep: 8192 };

/** Other calls wait no longer than this for one that reads on and on. */
const TURN_MS = 40;

type Message = { readonly start: WorkerInput } | Call;

let session: Session | undefined;

const blobInput = (blob: Blob, name: string): ByteSource =>
  pacedSource(cachedSource(syncBlobSource(blob, name), CACHE), TURN_MS);

/** A file of a server: by ranges, or whole where the server gives none. */
async function webInput(url: string, name: string): Promise<ByteSource> {
  const { HttpSource, openHttp } = await import("../../../src/io/web/http.js");
  const { input } = await openHttp(url);
  return input instanceof HttpSource ? input : blobInput(await gathered(input), name);
}

async function open(input: WorkerInput): ReturnType<typeof sourceInput> {
  const plain =
    input.kind === "blob" ? blobInput(input.blob, input.name) : await webInput(input.url, input.name);
  const { blob, compression } = await unpacked(plain);
  return sourceInput(blob === undefined ? plain : blobInput(blob, input.name), { compression });
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
