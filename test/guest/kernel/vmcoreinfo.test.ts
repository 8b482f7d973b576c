import { expect, it } from "vitest";
import { RISCV64 } from "../../../src/guest/arch/riscv64.js";
import { findVmcoreInfo } from "../../../src/guest/kernel/vmcoreinfo.js";
import { PageMap } from "../../../src/guest/page-map.js";
import { bytesSource } from "../../../src/io/byte-source.js";

const PAGE = 4096;
const PAGES = 2600;
const TEXT = "OSRELEASE=6.1.0\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=ffffffff81000000\n";

/** Memory of PAGES pages whose contents begin at byte `first`, `spacing` bytes apart, with the text in page `page`. */
function memoryWith(page: number, first: number, spacing: number): PageMap {
  const bytes = new Uint8Array(first + PAGES * spacing).fill(0xa5);
  bytes.fill(0, first + page * spacing, first + page * spacing + PAGE);
  bytes.set(Buffer.from(TEXT), first + page * spacing);
  const source = bytesSource(bytes);
  // as files answer: small reads at once, large ones later
  const map = new PageMap({
    ...source,
    read: (offset, into) =>
      into.length <= 512 << 10 ? source.read(offset, into) : Promise.resolve(source.read(offset, into)),
  });
  if (spacing === PAGE) map.set(7, PAGES, first);
  else map.setSpaced(7, PAGES, first, spacing);
  return map;
}

it.each([
  ["contents in one piece", 3, PAGE],
  ["a header before each page", 8, PAGE + 8],
])("is found at whatever page, %s", async (_, first, spacing) => {
  for (const page of [0, 1, 15, 16, 511, 512, 1023, 1024, 1025, 2047, 2048, PAGES - 17, PAGES - 1]) {
    const found = await findVmcoreInfo(memoryWith(page, first, spacing), RISCV64);
    expect(found).toEqual({ text: TEXT, gpa: (7 + page) * PAGE });
  }
});
