import { PAGE_SIZE, type PhysicalMemory } from "../../guest/memory.js";
import type { OpenOptions, RawOptions, RawPiece } from "../../guest/options.js";
import type { ByteSource, MaybePromise } from "../../io/byte-source.js";
import { UsageError } from "../../findings/errors.js";
import { type MemorySegment, segmentMemory } from "../segments.js";

/** Memory of raw images, and what is to be said of it. */
export interface RawMemory {
  readonly memory: PhysicalMemory;
  readonly pieces: readonly { readonly source: string; readonly start: number; readonly end: number }[];
  readonly warnings: readonly string[];
}

/** More files than anyone names. */
const MOST_PIECES = 4096;

interface OpenedPiece {
  readonly source: ByteSource;
  readonly address: number;
  readonly offset: number;
  readonly length: number;
}

/**
 * The memory that a raw image and further pieces hold; of two that overlap, the later one's contents count.
 * @throws UsageError for addresses that are no page's and for pieces beyond the end of their file
 */
export async function readRaw(
  input: ByteSource,
  { base = 0, pieces = [], offset, length }: RawOptions,
  { openFile }: Pick<OpenOptions, "openFile">,
): Promise<RawMemory> {
  if (pieces.length > MOST_PIECES) throw new UsageError("there are too many pieces");
  const opened: OpenedPiece[] = [pieceOf(input, { path: input.name, address: base, offset, length })];
  for (const piece of pieces) {
    if (openFile === undefined) throw new UsageError(`${piece.path} can't be opened here`);
    opened.push(pieceOf(await openFile(piece.path), piece));
  }
  let end = 0;
  const segments = opened.map(({ address, length }): MemorySegment => {
    const offset = end;
    end += length;
    return { physical: address, offset, fileSize: length, there: length, memorySize: length };
  });
  const ranges = opened.map(({ source, address, length }) => ({
    source: source.name,
    start: address,
    end: address + length,
  }));
  return {
    memory: segmentMemory(joined(opened, input.name), segments),
    pieces: ranges,
    warnings: overlaps(ranges),
  };
}

function pieceOf(source: ByteSource, { address, offset = 0, length }: RawPiece): OpenedPiece {
  const place = { source: source.name };
  const there = source.size - offset;
  if (address % PAGE_SIZE !== 0)
    throw new UsageError(`no page of memory begins at 0x${address.toString(16)}`, place);
  if (there <= 0) throw new UsageError(`the file has no byte at 0x${offset.toString(16)}`, place);
  if (length !== undefined && length > there)
    throw new UsageError(
      `the file has 0x${there.toString(16)} bytes there, not 0x${length.toString(16)}`,
      place,
    );
  const size = length ?? there;
  if (!Number.isSafeInteger(address + size)) throw new UsageError("the memory is beyond any address", place);
  return { source, address, offset, length: size };
}

function overlaps(pieces: RawMemory["pieces"]): string[] {
  const warnings: string[] = [];
  let last: RawMemory["pieces"][number] | undefined;
  for (const piece of pieces.toSorted((a, b) => a.start - b.start)) {
    if (last !== undefined && piece.start < last.end)
      warnings.push(`memory at 0x${piece.start.toString(16)} is in ${last.source} and in ${piece.source}`);
    if (last === undefined || piece.end > last.end) last = piece;
  }
  return warnings;
}

/** Pieces one after another as one source. */
function joined(pieces: readonly OpenedPiece[], name: string): ByteSource {
  const [only] = pieces;
  if (only !== undefined && pieces.length === 1 && only.offset === 0) return only.source;
  const starts: number[] = [];
  let size = 0;
  for (const { length } of pieces) {
    starts.push(size);
    size += length;
  }
  const read = (offset: number, into: Uint8Array): MaybePromise<number> => {
    let index = starts.findLastIndex((start) => start <= offset);
    // pieces of no length don't exist: the last that begins there is it
    index = Math.max(0, index);
    const piece = pieces[index];
    const within = offset - (starts[index] ?? 0);
    if (piece === undefined || within >= piece.length) return 0;
    const room = into.subarray(0, Math.min(into.length, piece.length - within));
    const after = (n: number): MaybePromise<number> => {
      // a source gives less than was asked for at its end alone: go on with the next
      if (n < room.length || n === into.length || offset + n >= size) return n;
      const rest = read(offset + n, into.subarray(n));
      return rest instanceof Promise ? rest.then((m) => n + m) : n + rest;
    };
    const n = piece.source.read(piece.offset + within, room);
    return n instanceof Promise ? n.then(after) : after(n);
  };
  return { name, size, read };
}
