import { kernelTextMapping } from "../../../src/guest/kernel/kernel-layout.js";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { codeAround } from "../../../src/guest/code.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { findVmcoreInfo, kernelBanner } from "../../../src/guest/kernel/vmcoreinfo.js";
import type { PhysicalMemory } from "../../../src/guest/memory.js";
import { pagingOf, translate } from "../../../src/guest/paging/walk.js";
import type { X86Registers } from "../../../src/guest/vcpu.js";
import { openFile } from "../../../src/io/node/files.js";
import { openStreamGuest } from "../../../src/xen/stream/guest.js";
import { gunzipText, hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { absentPages, crc, pageSums, truth } from "./model.js";

const data = path.join(sharedData, "xen-v3");
const skip = skipUnless(hasShared && hasProgram("zstd"), "shared data or zstd");
const { folder: work, cleanup } = scratch();
afterAll(cleanup);

const CASES = [
  ["hvm64", "hvm64.save"],
  ["hvm64-live", "hvm64-live.stream"],
  ["pvh64", "pvh64.save"],
  ["pv64", "pv64.save"],
  ["hvmlinux", "hvmlinux.save"],
] as const;

const text = (name: string): string => fs.readFileSync(path.join(data, name), "utf8");

async function open(file: string): Promise<GuestImage> {
  return openStreamGuest(openFile(unzstd(path.join(data, `${file}.zst`), work)), {});
}

function x86(guest: GuestImage, vcpu = 0): X86Registers {
  const registers = guest.vcpus[vcpu]?.registers;
  if (registers?.kind !== "x86") throw new Error("no x86 registers");
  return registers;
}

/** Section contents of a core as `xl dump-core` writes it, by name. */
function sections(file: string): Map<string, { offset: number; size: number }> {
  const listing = execFileSync("readelf", ["-SW", file], { encoding: "utf8" });
  const rows = listing.matchAll(/\] (\.\S+)\s+\S+\s+[0-9a-f]+ ([0-9a-f]+) ([0-9a-f]+)/g);
  return new Map(
    Array.from(rows, ([, name = "", offset = "", size = ""]) => [
      name,
      { offset: Number.parseInt(offset, 16), size: Number.parseInt(size, 16) },
    ]),
  );
}

describe.skipIf(skip)("Xen saves as guests", () => {
  it.each(CASES)("%s: every page is as recorded", async (name, file) => {
    const guest = await open(file);
    const { sums, without } = truth(gunzipText(path.join(data, `${name}.pages.gz`)));
    expect(await pageSums(guest)).toEqual(sums);
    const absent = absentPages(guest);
    expect([...absent.keys()]).toEqual(["not populated (XTAB)"]);
    expect([...without.values()].filter((type) => type !== "f")).toEqual([]);
    expect(guest.warnings).toEqual([]);
  });

  it.skipIf(skipUnless(hasProgram("readelf"), "readelf")).each(CASES)(
    "%s: memory equals the dump of the same guest by xl dump-core",
    async (name, file) => {
      const guest = await open(file);
      const packed = name === "hvmlinux" ? "hvmlinux.core.patch.zst" : `${name}.core.zst`;
      const core = unzstd(path.join(data, packed), work, {
        name: `${name}.core`,
        ...(name === "hvmlinux" ? { patchFrom: path.join(work, "hvmlinux.save") } : {}),
      });
      const parts = sections(core);
      const fd = fs.openSync(core, "r");
      const at = (section: string): { offset: number; size: number } =>
        parts.get(section) ?? { offset: 0, size: 0 };
      const table = at(name === "pv64" ? ".xen_p2m" : ".xen_pfn");
      const entry = name === "pv64" ? 16 : 8;
      const list = Buffer.alloc(table.size);
      fs.readSync(fd, list, 0, table.size, table.offset);
      const tables = new Set(
        gunzipText(path.join(data, `${name}.pages.gz`))
          .trim()
          .split("\n")
          .map((line) => line.split(" "))
          .filter(([, type]) => type !== "0")
          .map(([pfn = ""]) => Number.parseInt(pfn, 16)),
      );
      const theirs = Buffer.alloc(4096);
      const ours = new Uint8Array(4096);
      let same = 0;
      const onlyCore: number[] = [];
      const differ: number[] = [];
      for (let i = 0; i * entry < table.size; i += 1) {
        const pfn = Number(list.readBigUInt64LE(i * entry));
        // entries that the dumper left unused
        if (pfn > 2 ** 41) continue;
        fs.readSync(fd, theirs, 0, 4096, at(".xen_pages").offset + i * 4096);
        if ((await guest.memory.read(pfn * 4096, ours)) !== 4096) onlyCore.push(pfn);
        else if (theirs.equals(ours)) same += 1;
        else differ.push(pfn);
      }
      fs.closeSync(fd);
      // figures of the data's index: page tables hold frames of another kind, one page is the shared info
      const expected = { hvm64: 4059, "hvm64-live": 4064, pvh64: 4056, pv64: 3061, hvmlinux: 49119 };
      expect(same).toBe(expected[name]);
      expect(onlyCore.length).toBe(name === "pv64" || name === "hvm64-live" ? 0 : 1);
      expect(differ.every((pfn) => tables.has(pfn))).toBe(true);
      expect(differ.length).toBe(name === "pv64" ? 5 : 0);
    },
  );

  it.each(CASES.filter(([name]) => name !== "pv64"))(
    "%s: registers are those xen-hvmctx printed",
    async (name, file) => {
      const said = text(`${name}.hvmctx.txt`);
      const { general, control, debug, segments, msrs, gdt, idt } = x86(await open(file));
      const hex = (label: string): bigint => {
        const found = new RegExp(`(?<![a-z0-9])${label} +(?:0x)?([0-9a-f]+)`).exec(said)?.[1];
        if (found === undefined) throw new Error(`no ${label}`);
        return BigInt(`0x${found}`);
      };
      for (const [register, value] of Object.entries(general)) {
        // resumed by then: the suspend hypercall had returned 1
        const expected = name === "hvmlinux" && register === "rax" ? 0n : hex(register);
        expect([register, value]).toEqual([register, expected]);
      }
      for (const [register, value] of Object.entries({ ...control, ...debug })) {
        if (register !== "xcr0") expect([register, value]).toEqual([register, hex(register)]);
      }
      expect(msrs).toMatchObject({
        efer: hex("efer"),
        lstar: hex("lstar"),
        star: hex("star"),
        cstar: hex("cstar"),
        sfmask: hex("sfmask"),
        kernel_gs_base: hex("shadow gs"),
        pat: BigInt(`0x${/PAT 0x([0-9a-f]+)/.exec(said)?.[1]}`),
      });
      // the counter went on until xen-hvmctx read it
      expect(msrs.tsc).toBeLessThan(hex("tsc"));
      for (const [segment, value] of Object.entries(segments)) {
        const label = segment === "ldt" ? "ldtr" : segment;
        const line = new RegExp(
          `^ +${label} +(?:0x)?([0-9a-f]+) \\( *(?:0x)?([0-9a-f]+) \\+ +(?:0x)?([0-9a-f]+) / +(?:0x)?([0-9a-f]+)`,
          "m",
        ).exec(said);
        const [selector, base, limit, rights] = (line ?? []).slice(1).map((digits) => BigInt(`0x${digits}`));
        expect([segment, value.selector, value.base, value.limit]).toEqual([
          segment,
          Number(selector),
          base,
          Number(limit),
        ]);
        expect(((value.flags >> 8) & 0xff) | ((value.flags >> 12) & 0xf00)).toBe(Number(rights));
      }
      const table = (label: string): unknown => {
        const found = new RegExp(`${label} +\\( *(?:0x)?([0-9a-f]+) \\+ +0x([0-9a-f]+)`).exec(said);
        return { base: BigInt(`0x${found?.[1]}`), limit: Number(`0x${found?.[2]}`) };
      };
      expect(gdt).toEqual(table("gdtr"));
      expect(idt).toEqual(table("idtr"));
    },
  );

  it("pv64: registers are those xenctx printed and the guest set", async () => {
    const guest = await open("pv64.save");
    const { general, segments, control } = x86(guest);
    const said = text("pv64.xenctx.txt");
    const hex = (label: string): bigint =>
      BigInt(`0x${new RegExp(`(?<![a-z0-9])${label}: ([0-9a-f]+)`).exec(said)?.[1]}`);
    for (const [register, value] of Object.entries(general)) {
      if (register === "rflags") continue;
      // the hypercall's result arrives when the guest goes on
      if (register === "rax" || register === "rcx" || register === "rdx") continue;
      expect([register, value]).toEqual([register, hex(register)]);
    }
    expect(general.rflags).toBe(hex("flags"));
    expect(segments.cs?.selector).toBe(0xe033);
    expect(segments.ss?.selector).toBe(0xe02b);
    expect(pagingOf(x86(guest))).toMatchObject({ mode: "long", levels: 4, root: Number(control.cr3) });
    expect(guest.raw?.shared_info?.length).toBe(4096);
    expect(guest.facts.more?.p2m).toEqual({ frames: expect.any(Array) });
  });

  it("tiny guests: registers are those their kernels loaded", async () => {
    const hvm = x86(await open("hvm64.save"));
    expect(hvm.general).toMatchObject({
      rax: 0xa0a0a0a0a0a0a000n,
      rbx: 0xa3a3a3a3a3a3a303n,
      r15: 0xafafafafafafaf0fn,
    });
    expect(hvm.debug).toMatchObject({
      dr0: 0x1111000n,
      dr1: 0x2222000n,
      dr2: 0x3333000n,
      dr3: 0x4444000n,
      dr7: 0x455n,
    });
    expect(hvm.msrs).toMatchObject({
      star: 0x0013000800000000n,
      lstar: 0xffff800000111100n,
      cstar: 0xffff800000222200n,
      sfmask: 0x47700n,
      kernel_gs_base: 0x7b7b7b7b0000n,
      sysenter_cs: 8n,
      sysenter_esp: 0xffff800000333300n,
      sysenter_eip: 0xffff800000444400n,
      pat: 0x0007040600070406n,
    });
    expect(hvm.segments.gs?.base).toBe(0xffff9191919a0000n);
    expect(hvm.segments.fs?.base).toBe(0x75f5f5f50000n);
    expect(hvm.control.xcr0).toBe(7n);
    for (const file of ["pvh64.save", "pv64.save"]) {
      const { general } = x86(await open(file));
      expect(general).toMatchObject({
        rbx: 0xa3a3a3a3a3a3a303n,
        rbp: 0xa5a5a5a5a5a5a505n,
        r8: 0xa8a8a8a8a8a8a808n,
        r10: 0xaaaaaaaaaaaaaa0an,
        r12: 0xacacacacacacac0cn,
        r15: 0xafafafafafafaf0fn,
        rdi: 2n,
      });
    }
  });

  it.each([
    ["hvmlinux", "hvmlinux.save"],
    ["hvm64", "hvm64.save"],
    ["pv64", "pv64.save"],
  ])("%s: code around rip is what xenctx saw", async (name, file) => {
    const guest = await open(file);
    const code = await codeAround(guest.memory, x86(guest));
    const line = /^Code [^\n]*\n([^\n]*)/m.exec(text(`${name}.xenctx.txt`))?.[1] ?? "";
    const bytes = line
      .replace(/[<>]/g, "")
      .trim()
      .split(/\s+/)
      .map((o) => Number.parseInt(o, 16));
    expect([...(code?.bytes ?? [])].slice(0, bytes.length)).toEqual(bytes);
    expect(code?.at).toBe(line.split(/\s+/).findIndex((o) => o.startsWith("<")));
    expect(code === undefined ? 0n : code.address + BigInt(code.at)).toBe(x86(guest).general.rip);
  });

  it("hvmlinux: VMCOREINFO, the kernel's mapping and its banner", async () => {
    const guest = await open("hvmlinux.save");
    const found = await findVmcoreInfo(guest.memory, guest.arch);
    const [, note = ""] = text("hvmlinux.vmcoreinfo.txt").split(/^# .*\n/m);
    expect(found?.text.trim()).toBe(note.trim());
    expect(found?.gpa).toBe(0x1936000);
    const image = await kernelTextMapping(guest.memory, found?.text ?? "", guest.arch);
    const stext = 0xffffffff91a00000n;
    const home = image.find((m) => m.va <= stext && stext < m.va + BigInt(m.length));
    expect((home?.gpa ?? 0) + Number(stext - (home?.va ?? 0n))).toBe(
      Number(stext - 0xffffffff80000000n) - 186646528,
    );
    // the processor's own tables agree
    expect(await translate(guest.memory, pagingOf(x86(guest)), stext)).toBe(home?.gpa);
    const data = 0xffffffff93410000n;
    expect(image.some((m) => m.va <= data && data < m.va + BigInt(m.length))).toBe(true);
    const banner = await kernelBanner(guest.memory, guest.arch, found);
    expect(banner).toMatch(/^Linux version 6\.1\.0-56-cloud-amd64 \(.*\) #1 SMP/);
    expect(await kernelBanner(guest.memory, guest.arch)).toMatch(/^Linux version 6\.1/);
    expect(guest.facts).toMatchObject({ hypervisor: "Xen 4.17", guestType: "HVM", name: "hvmlinux" });
  });

  it("hvmlinux: the kernel's own pointer leads to VMCOREINFO; tiny guests aren't searched for it", async () => {
    const found = async (name: string): Promise<readonly [number | undefined, number]> => {
      const guest = await open(name);
      let bytes = 0;
      const counted: PhysicalMemory = {
        ranges: () => guest.memory.ranges(),
        pieces: (from, to) => guest.memory.pieces(from, to),
        read: (gpa, into) => {
          bytes += into.length;
          return guest.memory.read(gpa, into);
        },
      };
      return [(await findVmcoreInfo(counted, guest.arch, guest.vcpus))?.gpa, bytes];
    };
    const [gpa, bytes] = await found("hvmlinux.save");
    expect(gpa).toBe(0x1936000);
    // its image has 42 MiB
    expect(bytes).toBeLessThan(44 << 20);
    for (const name of ["hvm64.save", "pvh64.save"]) {
      const [none, looked] = await found(name);
      expect(none).toBeUndefined();
      expect([name, looked < 1 << 20]).toEqual([name, true]);
    }
  });

  it("keeps MTRR and XSAVE areas", async () => {
    const [vcpu] = (await open("hvm64.save")).vcpus;
    expect(vcpu?.raw?.xsave?.length).toBe(856);
    expect(vcpu?.raw?.mtrr?.length).toBe(240);
    const [pv] = (await open("pv64.save")).vcpus;
    expect(pv?.raw?.context?.length).toBe(5168);
    expect(pv?.raw?.xsave?.length).toBe(848);
    expect(crc(pv?.raw?.fpu ?? new Uint8Array())).toBe(
      crc(pv?.raw?.context?.subarray(0, 512) ?? new Uint8Array()),
    );
  });
});
