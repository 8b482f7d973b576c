import { Report } from "../../findings/report.js";
import type { GuestImage } from "../../guest/image.js";
import type { OpenOptions, VerifyOptions } from "../../guest/input-format.js";
import { ByteReader } from "../../io/byte-reader.js";
import { MemorySink } from "../../io/byte-sink.js";
import { type ByteSource, type ByteStream, bytesSource, isByteSource } from "../../io/byte-source.js";
import { loadDecompressor } from "../../io/codecs/codec.js";
import { decompressStream } from "../../io/codecs/streams.js";
import { FormatError } from "../../io/errors.js";
import { type Envelope, openStream } from "../migration/guest.js";
import { inspectStream, type QevmInspection } from "../migration/inspect.js";
import { readStream } from "../migration/read.js";
import { SAVE } from "./rules.js";
import { readSave, type SaveEnvelope } from "./read.js";

const COPY = 1 << 20;
const ORIGIN = "libvirt save file of a QEMU guest";

interface OpenedSave {
  readonly envelope: SaveEnvelope;
  /** The stream, uncompressed: a source where the file holds it so, else as it is unpacked. */
  readonly stream: ByteSource | ByteStream;
  readonly start: number;
}

async function openSave(input: ByteSource | ByteStream, report: Report): Promise<OpenedSave> {
  const reader = new ByteReader(input);
  const envelope = await readSave(reader, report);
  const { compression, streamOffset } = envelope;
  const plain = compression === "raw" || compression === "sparse";
  if (plain && isByteSource(input)) return { envelope, stream: input, start: streamOffset };
  const rest: ByteStream = {
    name: input.name,
    read: (into) => reader.readInto(into),
  };
  if (plain) return { envelope, stream: rest, start: 0 };
  return { envelope, stream: endingAtDamage(decompressStream(compression, rest), report), start: 0 };
}

/** A damaged end of compressed data is a finding; what came before is read. */
function endingAtDamage(stream: ByteStream, report: Report): ByteStream {
  return {
    name: stream.name,
    async read(into) {
      try {
        return await stream.read(into);
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        report.add(SAVE.data, { offset: error.place.offset ?? 0 }, error.message);
        return 0;
      }
    },
  };
}

function envelopeOf({ envelope, start }: OpenedSave, source: string): Envelope {
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
async function spooled(stream: ByteStream, options: OpenOptions): Promise<ByteSource & { close?(): void }> {
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

/** The guest in a save. */
export async function openSavedGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  const report = new Report(input.name);
  const opened = await openSave(input, report);
  const spool = isByteSource(opened.stream) ? undefined : await spooled(opened.stream, options);
  const kept: ByteSource = isByteSource(opened.stream) ? opened.stream : (spool ?? input);
  const close = (): void => spool?.close?.();
  try {
    const bad = report.findings.find(({ severity }) => severity === "error");
    if (bad !== undefined && options.partial !== true)
      throw new FormatError(bad.code, `${bad.message}; --partial takes what is intact`, {
        source: input.name,
        offset: bad.offset,
        spec: bad.spec,
      });
    const guest = await openStream(kept, options, {
      ...envelopeOf(opened, input.name),
      warnings: report.findings.map(({ message }) => message),
    });
    return {
      ...guest,
      close: async () => {
        await guest.close?.();
        close();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** Checks a save: its envelope and the stream in it. */
export async function verifySave(
  input: ByteSource | ByteStream,
  report: Report,
  { progress }: VerifyOptions,
): Promise<void> {
  const opened = await openSave(input, report).catch((error: unknown) => {
    if (!(error instanceof FormatError)) throw error;
    const { code, message, place } = error;
    const known = Object.values(SAVE).find((rule) => rule.code === code);
    if (known === undefined) throw error;
    report.add(known, { offset: place.offset ?? 0 }, message);
    return undefined;
  });
  if (opened === undefined) return;
  const stream = await readStream(opened.stream, report, {
    start: opened.start,
    checkCompressed: true,
    zlib: await loadDecompressor("zlib"),
    progress,
  });
  const { machine } = opened.envelope.domain;
  const saved = stream.configuration.machine;
  if (machine !== undefined && saved !== undefined && machine !== saved)
    report.add(
      SAVE.memory,
      { offset: opened.envelope.streamOffset },
      `the XML says machine '${machine}', the stream '${saved}'`,
    );
}

/** Tells what a save holds. */
export async function inspectSave(
  input: ByteSource | ByteStream,
  options: OpenOptions,
): Promise<QevmInspection> {
  const report = new Report(input.name);
  const opened = await openSave(input, report);
  // only a stream that can be read again shows what the guest was running
  const spool =
    isByteSource(input) && !isByteSource(opened.stream) ? await spooled(opened.stream, options) : undefined;
  try {
    const inspection = await inspectStream(spool ?? opened.stream, options, {
      ...envelopeOf(opened, input.name),
      warnings: report.findings.filter(({ severity }) => severity !== "error").map(({ message }) => message),
    });
    const errors = report.findings.filter(({ severity }) => severity === "error");
    return { ...inspection, damage: [...errors, ...inspection.damage] };
  } finally {
    spool?.close?.();
  }
}
