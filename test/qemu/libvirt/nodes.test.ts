import * as fs from "node:fs";
import * as path from "node:path";
import { expect, it } from "vitest";
import { memoryTotals } from "../../../src/guest/memory.js";
import { openFile } from "../../../src/io/node/files.js";
import { libvirtQemuSave } from "../../../src/qemu/libvirt/format.js";
import { fixtures } from "../../shared.js";
import { crc32 } from "../migration/samples.js";

const folder = path.join(fixtures, "libvirt-save");

it("a real save of two nodes and a DIMM: every page where QEMU's own dump has it", async () => {
  const [bytes = "", ...pages] = fs
    .readFileSync(path.join(folder, "nodes-and-dimm.pages"), "utf8")
    .trim()
    .split("\n");
  const guest = await libvirtQemuSave.reader.openGuest(
    openFile(path.join(folder, "nodes-and-dimm.save")),
    {},
  );
  expect(guest.warnings).toEqual([]);
  expect(guest.facts.specific).toMatchObject({
    map: [
      "split at 4 GiB from the CMOS",
      "order of nodes from the domain's XML",
      "'memdimm0' as the domain's XML says",
    ],
  });
  const truth = new Map(pages.map((line) => [Number.parseInt(line, 16), line.split(" ")[1] ?? ""]));
  const { present, zero, absent } = memoryTotals(guest.memory);
  expect(`bytes ${present + zero}`).toBe(bytes);
  expect(absent).toBe(0);
  for await (const { gpa, length, bytes } of guest.memory.pieces())
    for (let at = 0; at < length; at += 4096) {
      const page = bytes?.subarray(at, at + 4096);
      const isZero = page === undefined || page.every((byte) => byte === 0);
      const crc = isZero ? undefined : crc32(page).toString(16).padStart(8, "0");
      expect(crc, `0x${(gpa + at).toString(16)}`).toBe(truth.get(gpa + at));
    }
  await guest.close?.();
});
