import type { Diagnostics } from "../../findings/diagnostics.js";
import { FormatError } from "../../findings/errors.js";
import type { OpenOptions } from "../../guest/options.js";
import { ByteReader } from "../../io/byte-reader.js";
import {
  type ByteSource,
  type ByteStream,
  isByteSource,
  sliceSource,
  streamOf,
} from "../../io/byte-source.js";
import { type Stored, unpackFrames } from "../../io/codecs/frames/unpack-frames.js";
import { SpoolStore } from "../../io/codecs/frames/spool-store.js";
import { unpackedSource } from "../../io/codecs/frames/unpacked-source.js";
import { decompressStream } from "../../io/codecs/streams.js";
import { MemorySpool } from "../../io/spool.js";
import type { Envelope } from "../migration/guest.js";
import { findSaveHead, type SaveHead } from "./head.js";
import type { SaveCompression } from "./layout.js";
import { readSave, type SaveEnvelope } from "./read.js";
import { LIBVIRT_SAVE_RULES } from "./rules.js";

const PIECE = 256 << 10;
const ORIGIN = "libvirt save file of a QEMU guest";

/** A compressed stream, and where it begins in the file. */
export interface PackedStream {
  readonly compression: Exclude<SaveCompression, "raw" | "sparse">;
  readonly streamOffset: number;
}

/** A save file whose envelope is read. */
export interface OpenedSave {
  readonly envelope: SaveEnvelope;
  /** The stream, uncompressed: a source where the file holds it so, else as it is unpacked. */
  readonly stream: ByteSource | ByteStream;
  readonly start: number;
  /** Undefined: the file holds the stream as it is. */
  readonly packed?: PackedStream;
  /** What is known of a damaged envelope; undefined: it is whole. */
  readonly head?: SaveHead;
  /** What ended the unpacking of the stream, once it was read. */
  damage?: FormatError;
}

/**
 * Reads the envelope and finds the stream in it.
 * @param isPartial an envelope that is damaged is made of what the rest of the file shows
 * @throws FormatError when the stream can't be found
 */
export async function openSave(
  input: ByteSource | ByteStream,
  diagnostics: Diagnostics,
  isPartial = false,
): Promise<OpenedSave> {
  const head = isPartial && isByteSource(input) ? await findSaveHead(input) : undefined;
  const reader = new ByteReader(input, head === undefined ? {} : { start: head.envelope.streamOffset });
  const envelope = head?.envelope ?? (await readSave(reader, diagnostics));
  const { compression, streamOffset, finished } = envelope;
  if (head !== undefined && finished === false)
    diagnostics.report(LIBVIRT_SAVE_RULES.part, { offset: 0 }, "the save was not finished");
  const known = head === undefined ? { envelope } : { envelope, head };
  if (isPlain(compression) && isByteSource(input)) return { ...known, stream: input, start: streamOffset };
  const rest: ByteStream = {
    name: input.name,
    read: (into) => reader.readInto(into),
  };
  if (isPlain(compression)) return { ...known, stream: rest, start: streamOffset };
  const unpacked = decompressStream(compression, rest, streamOffset);
  const opened: OpenedSave = {
    ...known,
    packed: { compression, streamOffset },
    stream: endingAtDamage(unpacked, diagnostics, (damage) => (opened.damage = damage)),
    start: 0,
  };
  return opened;
}

const isPlain = (compression: SaveCompression): compression is "raw" | "sparse" =>
  compression === "raw" || compression === "sparse";

/** A damaged end of compressed data is a finding; what came before is read. */
function endingAtDamage(
  stream: ByteStream,
  diagnostics: Diagnostics,
  onDamage: (damage: FormatError) => void,
): ByteStream {
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
        onDamage(error);
        const message = `${error.message} (the stream unpacks to ${unpacked} bytes)`;
        diagnostics.report(LIBVIRT_SAVE_RULES.data, { offset: error.place.offset ?? 0 }, message);
        return 0;
      }
    },
  };
}

/** Reports what is lost of an envelope that is read with damage. */
export function reportHead({ head }: OpenedSave, diagnostics: Diagnostics): void {
  for (const { start, end } of head?.lost ?? [])
    diagnostics.report(
      LIBVIRT_SAVE_RULES.head,
      { offset: start },
      `${end - start} bytes of libvirt's header, or of the XML in it, are damaged`,
    );
}

/** What the envelope knows of the guest, for the reader of the stream. */
export function envelopeOf({ envelope, start }: OpenedSave, source: string): Envelope {
  const { domain, compression, wasRunning, version, cookie, finished } = envelope;
  const { name, uuid, machine, cells, memoryDevices } = domain;
  return {
    start,
    origin: ORIGIN,
    source,
    isPausedFirst: true,
    domain: {
      ...(machine === undefined ? {} : { machine }),
      ...(cells === undefined ? {} : { cells }),
      ...(memoryDevices === undefined ? {} : { devices: memoryDevices }),
      ...(name === undefined ? {} : { name }),
      ...(uuid === undefined ? {} : { uuid }),
    },
    more: {
      libvirt: {
        ...(version === undefined ? {} : { version }),
        ...(finished === undefined ? {} : { finished }),
        ...(wasRunning === undefined ? {} : { wasRunning }),
        compression,
        domain,
        hasCookie: cookie !== undefined,
      },
    },
  };
}

/**
 * Unpacks the stream of a compressed save to where it can be read at any offset; with `isPartial` what is whole of a damaged
 * one, part by part. What is wrong with it goes into `diagnostics`.
 */
export async function spooled(
  input: ByteSource,
  { compression, streamOffset }: PackedStream,
  diagnostics: Diagnostics,
  options: OpenOptions & { readonly isPartial: boolean },
): Promise<ByteSource & { close(): void }> {
  const { isPartial, openSpool, progress } = options;
  const spool = openSpool?.() ?? new MemorySpool();
  const close = (): void => spool.close();
  try {
    const packed = sliceSource(input, streamOffset, input.size - streamOffset);
    const store = new SpoolStore(spool, input.name, (done) => progress?.(done, undefined, "unpacking"));
    const stream = decompressStream(compression, streamOf(packed), streamOffset);
    const { damage } = await store.store(stream, 0);
    if (damage !== undefined && !isPartial) throw damage;
    const source = await unpackedSource(compression, packed, store, damage, streamOffset);
    reportPacked(source, diagnostics);
    return { ...source, name: input.name, close };
  } catch (error) {
    close();
    if (error instanceof FormatError && error.place.offset !== undefined)
      diagnostics.report(LIBVIRT_SAVE_RULES.data, { offset: error.place.offset }, error.message);
    throw error;
  }
}

/** Reports parts of a compressed stream that are lost after the one that ended its unpacking. */
export async function reportMorePacked(
  input: ByteSource,
  { packed: stream, damage }: OpenedSave,
  diagnostics: Diagnostics,
): Promise<void> {
  if (damage === undefined || stream === undefined) return;
  const { compression, streamOffset } = stream;
  const packed = sliceSource(input, streamOffset, input.size - streamOffset);
  const frames = await unpackFrames(compression, packed, damage, countBytes, streamOffset);
  const { offset = 0 } = damage.place;
  const more = frames?.lost.filter(
    ({ packedStart, packedEnd }) => offset < packedStart || offset > packedEnd,
  );
  for (const { packedStart, message } of more ?? [])
    diagnostics.report(LIBVIRT_SAVE_RULES.data, { offset: packedStart }, message);
}

/** Reads a stream for its length alone. */
async function countBytes(stream: ByteStream): Promise<Stored> {
  const buffer = new Uint8Array(PIECE);
  for (let length = 0; ; ) {
    try {
      const n = await stream.read(buffer);
      if (n === 0) return { length, damage: undefined };
      length += n;
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      return { length, damage: error };
    }
  }
}

/** Reports what is wrong with packed data, at offsets in the file. */
function reportPacked({ packed, size }: ByteSource, diagnostics: Diagnostics): void {
  const { tear, lost = [], doubtful = [] } = packed ?? {};
  for (const { packedStart, message } of lost)
    diagnostics.report(LIBVIRT_SAVE_RULES.data, { offset: packedStart }, message);
  for (const { start, end, message } of doubtful) {
    const text = `${message} (the ${end - start} bytes unpacked there may be wrong)`;
    // they come before what is lost of the same part
    const after = lost.find((part) => part.start >= start) ?? lost.at(-1);
    diagnostics.report(
      LIBVIRT_SAVE_RULES.data,
      { offset: after?.packedStart ?? tear?.packedOffset ?? 0 },
      text,
    );
  }
  if (tear !== undefined)
    diagnostics.report(
      LIBVIRT_SAVE_RULES.data,
      { offset: tear.packedOffset },
      `${tear.message} (the stream unpacks to ${size} bytes)`,
    );
}
