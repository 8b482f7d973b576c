import { yieldToEventLoop } from "../../../src/io/event-loop.js";
import type { ByteSource, MaybePromise } from "../../../src/io/byte-source.js";
import type { SyncSource } from "./cached-source.js";

/**
 * A source that lets the event loop turn every `ms` milliseconds of reading: other calls to a worker are heard while
 * a long one reads what is there at once.
 */
export function pacedSource(source: SyncSource, ms: number): ByteSource {
  let turned = performance.now();
  return {
    name: source.name,
    size: source.size,
    read(offset, into): MaybePromise<number> {
      if (performance.now() - turned < ms) return source.read(offset, into);
      return yieldToEventLoop().then(() => {
        turned = performance.now();
        return source.read(offset, into);
      });
    },
  };
}
