import { SystemError } from "../../../src/findings/errors.js";
import type { SyncSource } from "./cached-source.js";

/**
 * A Blob read at once, as only workers can: a tenth of the time that the asynchronous way takes for small reads.
 * @throws SystemError `blob/…` when the file changed or went away since it was chosen
 */
export function syncBlobSource(blob: Blob, name: string): SyncSource {
  const reader = new FileReaderSync();
  const readNow = (part: Blob): ArrayBuffer => {
    try {
      return reader.readAsArrayBuffer(part);
    } catch (error) {
      const { name: kind, message } = error as DOMException;
      const gone = kind === "NotFoundError" || kind === "NotReadableError";
      const text = gone ? "the file changed or went away while it was open: choose it again" : message;
      throw new SystemError(`blob/${kind}`, text, { source: name });
    }
  };
  return {
    name,
    size: blob.size,
    read(offset, into) {
      const bytes = readNow(blob.slice(offset, offset + into.length));
      into.set(new Uint8Array(bytes));
      return bytes.byteLength;
    },
    readTogether(offsets, size) {
      // one journey for all of them
      const whole = new Blob(offsets.map((offset) => blob.slice(offset, offset + size)));
      return new Uint8Array(readNow(whole));
    },
  };
}
