import { elfLayouts } from "../../../src/elf/layout.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { elfVmcore } from "../../../src/vmcore/elf/format.js";
import { openVmcore } from "../../../src/vmcore/elf/read.js";
import type { KnownFile } from "../../guest/damage-oracle.js";

const PAGE = 4096;

/** An ELF vmcore whose every page is known by its own undamaged headers. */
export async function knownElf(bytes: Buffer): Promise<KnownFile> {
  const { elf, segments } = await openVmcore(bytesSource(bytes));
  const { size } = elfLayouts(elf.bits).phdr;
  const pages = segments.flatMap(({ index, physical, offset, there }) =>
    Array.from({ length: Math.floor(there / PAGE) }, (_, i) => ({
      gpa: physical + i * PAGE,
      size: PAGE,
      contents: [[offset + i * PAGE, PAGE] as const],
      index: [[elf.header.e_phoff + index * size, size] as const],
    })),
  );
  // of two headers for a page the later one counts
  const last = new Map(pages.map((page) => [page.gpa, page]));
  return {
    bytes,
    pages: [...last.values()],
    page: ({ contents }) => bytes.subarray(contents[0]?.[0], (contents[0]?.[0] ?? 0) + PAGE),
    open: (damaged) =>
      elfVmcore.reader.openGuest(bytesSource(damaged, "damaged"), { partial: true, findKernel: false }),
  };
}

/** Bytes of a file that its headers, table and notes take. */
export async function headOf(bytes: Buffer): Promise<number> {
  const { segments } = await openVmcore(bytesSource(bytes));
  return Math.min(...segments.filter(({ fileSize }) => fileSize > 0).map(({ offset }) => offset));
}
