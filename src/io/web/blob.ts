import type { ByteSource, ByteStream } from "../byte-source.js";
import type { AnswerBody } from "./ask.js";

/** A Blob or File of the browser as a source; reads go through `slice`. */
export function blobSource(blob: Blob, name = "name" in blob ? String(blob.name) : "blob"): ByteSource {
  return {
    name,
    size: blob.size,
    async read(offset, into) {
      const part = new Uint8Array(await blob.slice(offset, offset + into.length).arrayBuffer());
      into.set(part);
      return part.length;
    },
  };
}

/** A web stream (fetch body, DecompressionStream) as a stream. */
export function webStream(stream: AnswerBody, name: string): ByteStream {
  const reader = stream.getReader();
  let rest = new Uint8Array(0);
  return {
    name,
    async read(into) {
      while (rest.length === 0) {
        const next = await reader.read();
        if (next.value === undefined) return 0;
        rest = new Uint8Array(next.value);
      }
      const part = rest.subarray(0, into.length);
      into.set(part);
      rest = rest.subarray(part.length);
      return part.length;
    },
  };
}
