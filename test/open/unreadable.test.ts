import * as fs from "node:fs";
import { describe, expect, it } from "vitest";
import { FORMATS } from "../../src/open/formats.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { inspect, verify } from "../../src/open/open.js";
import { describeUnreadable } from "../../src/open/unreadable.js";

const bytes = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));

describe("a known format that isn't read", () => {
  it.each([
    ["\x7fVirtualBox SavedState V2.0\n", /VirtualBox \(\.sav\)/],
    ["\xd2\xbe\xd2\xbe\x08\0\0\0", /\.vmss/],
    ["\x14\x20\x28\x01\0\0\0\0", /\.vmrs/],
    ["VMA\0\0\0\0\x01", /\.vma/],
    ["\xed\x23\x8f\x61\x73\x01\x19\xa8", /LKCD/],
    ["HIBR\0\0\0\0", /hiberfil\.sys/],
    ["KDMV\x01\0\0\0", /VMDK/],
    ["vhdxfile", /VHDX/],
  ])("%j is named", (start, what) => {
    const head = new Uint8Array(4096);
    head.set(bytes(start));
    expect(describeUnreadable(head, "x").message).toMatch(what);
  });

  it("programs and kernels are named", () => {
    const node = fs.readFileSync(process.execPath).subarray(0, 4096);
    expect(describeUnreadable(node, "node").message).toMatch(/a program.*\(ELF\)/);
    const kernel = new Uint8Array(4096);
    kernel.set(bytes("MZ"));
    kernel.set(bytes("HdrS"), 0x202);
    expect(describeUnreadable(kernel, "vmlinuz").message).toMatch(/bzImage/);
  });

  it("a program isn't taken for a dump whose head is damaged", async () => {
    const program = bytesSource(fs.readFileSync(process.execPath).subarray(0, 1 << 20), "program");
    for (const format of FORMATS) expect(await format.matchesDamaged?.(program), format.id).not.toBe(true);
    const { report } = await verify(program);
    expect(report.findings.map(({ code }) => code)).toEqual(["open/unknown"]);
    await expect(inspect(program)).rejects.toMatchObject({ code: "open/unknown" });
  });
});
