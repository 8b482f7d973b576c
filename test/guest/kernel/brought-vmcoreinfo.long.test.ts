import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../../src/guest/image.js";
import { bytesSource } from "../../../src/io/byte-source.js";
import { openFile } from "../../../src/io/node/files.js";
import { openGuest, verify } from "../../../src/open/open.js";
import { elfWriter } from "../../../src/vmcore/elf/write.js";
import { createKdumpWriter } from "../../../src/vmcore/kdump/write.js";
import { hasProgram, hasShared, runCli, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { MemoryFile } from "../../vmcore/model.js";

const noData = skipUnless(hasShared && hasProgram("zstd"), "shared data, or zstd");
const { folder, cleanup } = scratch();
afterAll(cleanup);

const linux = (): string => unzstd(path.join(sharedData, "kdump/linux.elf.zst"), folder);
const filtered = (): string => unzstd(path.join(sharedData, "kdump/linux.zlib-d31.kdump.zst"), folder);

/** What an altered text has in place of the right one. */
const ALTERATIONS: readonly (readonly [what: string, alter: (text: string) => string])[] = [
  ["phys_base", (text) => text.replace(/(phys_base\)=)(.*)/, (_, key, n) => `${key}${Number(n) + 4096}`)],
  ["KERNELOFFSET", (text) => text.replace(/(KERNELOFFSET=)(.*)/, (_, key) => `${key}2a00000`)],
  ["_stext", (text) => text.replace(/(_stext\)=f+)(.)/, (_, key) => `${key}c`)],
  ["release", (text) => text.replace(/OSRELEASE=6\.1/, "OSRELEASE=6.2")],
];

const WRITERS = { elf: elfWriter, kdump: createKdumpWriter() };
const CODES = { elf: "vmcore/elf/vmcoreinfo", kdump: "kdump/vmcoreinfo" };

/** A dump of the guest whose VMCOREINFO is `text`. */
async function dumpWith(guest: GuestImage, text: string, kind: keyof typeof WRITERS): Promise<Uint8Array> {
  const file = new MemoryFile();
  await WRITERS[kind].write({ ...guest, facts: { ...guest.facts, vmcoreInfo: { text } } }, file, {
    compress: "none",
  });
  return file.bytes();
}

describe.skipIf(noData)("the VMCOREINFO that a dump brings", () => {
  for (const kind of ["elf", "kdump"] as const)
    it.each(kind === "elf" ? ALTERATIONS : ALTERATIONS.slice(0, 2))(
      `${kind} with another %s: a warning, and the copy in memory is taken`,
      async (_, alter) => {
        const guest = await openGuest(openFile(kind === "elf" ? linux() : filtered()));
        const right = guest.facts.vmcoreInfo?.text ?? "";
        expect(guest.warnings.join()).not.toMatch(/VMCOREINFO/);
        const wrong = alter(right);
        expect(wrong).not.toBe(right);
        const dump = await dumpWith(guest, wrong, kind);
        const { report } = await verify(bytesSource(dump));
        expect(report.findings.map(({ code }) => code)).toContain(CODES[kind]);
        const opened = await openGuest(bytesSource(dump));
        expect(opened.facts.vmcoreInfo?.text).toBe(right);
        expect(opened.warnings.join("\n")).toMatch(
          /VMCOREINFO that the input brings doesn't fit the kernel in memory: the copy in memory at 0x[0-9a-f]+ does and is taken/,
        );
        const sound = await verify(bytesSource(await dumpWith(guest, right, kind)));
        expect(sound.report.findings.map(({ code }) => code)).not.toContain(CODES[kind]);
        await guest.close?.();
      },
    );
});

describe.skipIf(noData)("--vmcoreinfo", () => {
  const wrong = (): string =>
    unzstd(path.join(sharedData, "field/wrong-vmcoreinfo.elf.patch.zst"), folder, { patchFrom: linux() });
  const extract = (input: string, name: string, choice?: string): { text?: string; stderr: string } => {
    const out = path.join(folder, name);
    const given = choice === undefined ? [] : ["--vmcoreinfo", choice];
    const { status, stderr } = runCli(["extract", "--force", input, out, ...given]);
    expect(status, stderr).toBe(0);
    // what the file's note holds, whatever it is worth
    const head = fs
      .readFileSync(out)
      .subarray(0, 1 << 20)
      .toString("latin1");
    const text = /VMCOREINFO\0\0(OSRELEASE=(?:[\x20-\x7e]*\n)*)/.exec(head)?.[1];
    return text === undefined ? { stderr } : { text, stderr };
  };

  it("search takes memory's, none leaves it out, FILE gives it; the default mends a wrong one", () => {
    const right = extract(linux(), "right.elf").text ?? "";
    expect(right).toMatch(/^OSRELEASE=6\.1\.192\n/);
    const mended = extract(wrong(), "mended.elf");
    expect([mended.text, mended.stderr]).toEqual([right, expect.stringMatching(/doesn't fit/)]);
    expect(extract(wrong(), "search.elf", "search")).toEqual({ text: right, stderr: "" });
    expect(extract(linux(), "none.elf", "none")).toEqual({ stderr: "" });
    const given = path.join(folder, "vmcoreinfo.txt");
    fs.writeFileSync(given, `${right}NUMBER(given)=1\n`);
    expect(extract(linux(), "given.elf", given)).toEqual({ text: `${right}NUMBER(given)=1\n`, stderr: "" });
    fs.writeFileSync(given, right.replace(/_stext\)=f+./, "_stext)=ffffffffc"));
    expect(extract(linux(), "bad.elf", given).stderr).toMatch(/that was given doesn't fit the kernel/);
  });

  it("a file that is none is refused; a command that needs a kernel refuses none", () => {
    const given = path.join(folder, "other.txt");
    fs.writeFileSync(given, "something else\n");
    const out = path.join(folder, "never.elf");
    const bad = runCli(["extract", linux(), out, "--vmcoreinfo", given]);
    expect([bad.status, bad.stderr]).toEqual([2, expect.stringMatching(/no VMCOREINFO/)]);
    expect(runCli(["extract", linux(), out, "--vmcoreinfo", `${given}.not`]).status).toBe(2);
    const none = runCli(["ps", linux(), "--vmcoreinfo", "none"]);
    expect([none.status, none.stderr]).toEqual([
      2,
      expect.stringMatching(/leaves nothing to find the kernel/),
    ]);
    const shown = JSON.parse(runCli(["inspect", "--json", linux(), "--vmcoreinfo", "none"]).stdout) as {
      software?: { vmcoreInfo?: unknown };
    };
    expect(shown.software?.vmcoreInfo).toBeUndefined();
  });

  it.skipIf(skipUnless(hasProgram("makedumpfile"), "makedumpfile"))(
    "makedumpfile takes the kernel's log out of what a wrong note became",
    () => {
      extract(wrong(), "log.elf");
      const [file, log] = [path.join(folder, "log.elf"), path.join(folder, "log.txt")];
      const { status, stdout } = spawnSync("makedumpfile", ["--dump-dmesg", file, log], { encoding: "utf8" });
      expect(status, stdout).toBe(0);
      expect(fs.readFileSync(log, "utf8")).toMatch(/Linux version 6\.1\.192/);
    },
  );
});
