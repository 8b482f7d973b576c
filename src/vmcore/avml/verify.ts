import type { Diagnostics } from "../../findings/diagnostics.js";
import { FormatError } from "../../findings/errors.js";
import type { ByteSource } from "../../io/byte-source.js";
import { ChunkReader, dumpMemory } from "./memory.js";
import { readDump } from "./read.js";
import { AVML_RULES } from "./rules.js";

/** Reports all that is wrong with a dump; every chunk is unpacked. */
export async function verifyDump(input: ByteSource, diagnostics: Diagnostics): Promise<void> {
  const dump = await readDump(input, diagnostics);
  const { blocks, chunks, lost } = dump;
  if (lost !== undefined) diagnostics.report(lost.rule, { offset: lost.place.offset ?? 0 }, lost.message);
  let end = 0;
  for (const block of blocks.toSorted((a, b) => a.start - b.start)) {
    if (block.start < end)
      diagnostics.report(
        AVML_RULES.overlap,
        { offset: block.offset },
        `memory at 0x${block.start.toString(16)} is in another block, too`,
      );
    end = Math.max(end, block.end);
  }
  try {
    dumpMemory(input, dump);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    diagnostics.report(AVML_RULES.header, { offset: error.place.offset ?? 0 }, error.message);
  }
  const reader = new ChunkReader(input, chunks);
  for (let chunk = 0; chunk < chunks.count; chunk += 1) {
    try {
      await reader.read(chunk);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      diagnostics.report(AVML_RULES.checksum, { offset: error.place.offset ?? 0 }, error.message);
    }
  }
}
