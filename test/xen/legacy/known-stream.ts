import { StrictDiagnostics } from "../../../src/findings/diagnostics.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openGuest } from "../../../src/open/open.js";
import { hasData } from "../../../src/xen/legacy/layout.js";
import { LegacyReader } from "../../../src/xen/legacy/read.js";
import type { KnownFile, PagePlace } from "../../guest/damage-oracle.js";

const PAGE = 4096;

/** A legacy stream whose every page is known. */
export interface KnownStream extends KnownFile {
  /** Where the memory begins and ends in the file. */
  readonly body: readonly [start: number, end: number];
  /** Offset of the first chunk, after the head. */
  readonly first: number;
  /** Offsets of batches. */
  readonly batches: readonly number[];
}

/** The pages of a stream of one checkpoint, and where they are. */
export async function knownStream(name: string, bytes: Buffer): Promise<KnownStream> {
  const reader = new LegacyReader(bytesSource(bytes), { diagnostics: new StrictDiagnostics(name) });
  const last = new Map<number, PagePlace>();
  const batches: number[] = [];
  let start = 0;
  let end = 0;
  let first = 0;
  for await (const chunk of reader.chunks()) {
    if (HEAD.has(chunk.kind)) first = reader.cursor.position;
    if (chunk.kind === "end-of-body") {
      end = chunk.offset;
      break;
    }
    if (chunk.kind !== "pages" || chunk.verify) continue;
    if (start === 0) start = chunk.offset;
    batches.push(chunk.offset);
    let at = chunk.dataOffset;
    const size = reader.cursor.ulongSize;
    for (const [i, entry] of chunk.entries.entries()) {
      if (!hasData(entry >>> 28)) continue;
      const gpa = (entry & 0x0fff_ffff) * PAGE;
      const index = [[chunk.offset, 4] as const, [chunk.offset + 4 + i * size, size] as const];
      last.set(gpa, { gpa, size: PAGE, contents: [[at, PAGE]], index });
      at += PAGE;
    }
  }
  return {
    bytes,
    first,
    body: [start, end],
    batches,
    pages: [...last.values()],
    page: ({ contents: [place = [0, 0]] }) => bytes.subarray(place[0], place[0] + PAGE),
    open: (damaged) => openGuest(bytesSource(damaged, "damaged"), { partial: true, findKernel: false }),
  };
}

const HEAD: ReadonlySet<string> = new Set(["xl-header", "header", "pv-info"]);
