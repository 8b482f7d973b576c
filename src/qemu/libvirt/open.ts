import type { Diagnostics } from "../../findings/diagnostics.js";
import { FormatError } from "../../findings/errors.js";
import type { OpenOptions } from "../../guest/options.js";
import { ByteReader } from "../../io/byte-reader.js";
import { MemorySink } from "../../io/byte-sink.js";
import { type ByteSource, type ByteStream, bytesSource, isByteSource } from "../../io/byte-source.js";
import { decompressStream } from "../../io/codecs/streams.js";
import type { Envelope } from "../migration/guest.js";
import { readSave, type SaveEnvelope } from "./read.js";
import { LIBVIRT_SAVE_RULES } from "./rules.js";

const COPY = 1 << 20;
const ORIGIN = "libvirt save file of a QEMU guest";

/** A save file whose envelope is read. */
export interface OpenedSave {
  readonly envelope: SaveEnvelope;
  /** The stream, uncompressed: a source where the file holds it so, else as it is unpacked. */
  readonly stream: ByteSource | ByteStream;
  readonly start: number;
}

/** Reads the envelope and finds the stream in it. @throws FormatError when the stream can't be found */
export async function openSave(
  input: ByteSource | ByteStream,
  diagnostics: Diagnostics,
): Promise<OpenedSave> {
  const reader = new ByteReader(input);
  const envelope = await readSave(reader, diagnostics);
  const { compression, streamOffset } = envelope;
  const plain = compression === "raw" || compression === "sparse";
  if (plain && isByteSource(input)) return { envelope, stream: input, start: streamOffset };
  const rest: ByteStream = {
    name: input.name,
    read: (into) => reader.readInto(into),
  };
  if (plain) return { envelope, stream: rest, start: streamOffset };
  return {
    envelope,
    stream: endingAtDamage(decompressStream(compression, rest, streamOffset), diagnostics),
    start: 0,
  };
}

/** A damaged end of compressed data is a finding; what came before is read. */
function endingAtDamage(stream: ByteStream, diagnostics: Diagnostics): ByteStream {
  let unpacked = 0;
  return {
    name: stream.name,
    async read(into) {
      try {
        const n = await stream.read(into);
        unpacked += n;
        return n;
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        const message = `${error.message} (the stream unpacks to ${unpacked} bytes)`;
        diagnostics.report(LIBVIRT_SAVE_RULES.data, { offset: error.place.offset ?? 0 }, message);
        return 0;
      }
    },
  };
}

/** What the envelope knows of the guest, for the reader of the stream. */
export function envelopeOf({ envelope, start }: OpenedSave, source: string): Envelope {
  const { domain, compression, wasRunning, version, cookie, finished } = envelope;
  const { name, uuid, machine, cells, memoryDevices } = domain;
  return {
    start,
    origin: ORIGIN,
    source,
    domain: {
      ...(machine === undefined ? {} : { machine }),
      ...(cells === undefined ? {} : { cells }),
      ...(memoryDevices === undefined ? {} : { devices: memoryDevices }),
      ...(name === undefined ? {} : { name }),
      ...(uuid === undefined ? {} : { uuid }),
    },
    more: {
      libvirt: { version, finished, wasRunning, compression, domain, hasCookie: cookie !== undefined },
    },
  };
}

/** Unpacks a stream to where it can be read at any offset. */
export async function spooled(
  stream: ByteStream,
  options: OpenOptions,
): Promise<ByteSource & { close?(): void }> {
  const spool = options.openSpool?.();
  const memory = spool === undefined ? new MemorySink() : undefined;
  const sink = spool ?? memory;
  const buffer = new Uint8Array(COPY);
  for (let done = 0; ; ) {
    const n = await stream.read(buffer);
    if (n === 0) break;
    await sink?.write(buffer.subarray(0, n));
    done += n;
    options.progress?.(done, undefined, "unpacking");
  }
  return spool ?? bytesSource(memory?.bytes() ?? new Uint8Array(0), stream.name);
}
