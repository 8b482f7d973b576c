import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { expect } from "vitest";
import type { Vcpu } from "../../../src/guest/vcpu.js";
import { gunzipText, hasProgram, hasShared, sharedData, skipUnless, unzstd } from "../../shared.js";

const samples = path.join(sharedData, "qemu-migration");
export const saves = path.join(sharedData, "libvirt-save");

export const noSamples = skipUnless(
  hasShared && hasProgram("zstd"),
  "shared data of saved QEMU guests, or zstd",
);

export const sampleFile = (name: string, file: string): string => path.join(samples, name, file);

/** The stream of a sample, unpacked into `folder`. */
export function unpackSample(name: string, folder: string): string {
  return unzstd(sampleFile(name, "stream.qevm.zst"), folder, { name: `${name}.qevm` });
}

/** CRC of every page as the stream leaves it: block → page → CRC, undefined where the stream has none. */
export function groundTruth(name: string): Map<string, (number | undefined)[]> {
  const blocks = new Map<string, (number | undefined)[]>();
  for (const line of gunzipText(sampleFile(name, "pages.gz")).trim().split("\n")) {
    const [, block = "", page = "", crc = ""] = /^(.*) ([0-9a-f]+) ([0-9a-f]+|-)$/.exec(line) ?? [];
    const pages = blocks.get(block) ?? [];
    pages[Number.parseInt(page, 16)] = crc === "-" ? undefined : Number.parseInt(crc, 16);
    blocks.set(block, pages);
  }
  return blocks;
}

export interface MapEntry {
  readonly gpa: number;
  readonly size: number;
  readonly block: string;
  readonly offset: number;
  readonly kind: string;
}

/** The machine's memory map, as QEMU printed it. */
export function gpaMap(name: string): MapEntry[] {
  const meta = JSON.parse(fs.readFileSync(sampleFile(name, "meta.json"), "utf8")) as {
    gpa_map: Record<string, string>[];
  };
  return meta.gpa_map.map((entry) => ({
    gpa: Number(entry["gpa"]),
    size: Number(entry["size"]),
    block: entry["block"] ?? "",
    offset: Number(entry["offset"]),
    kind: entry["kind"] ?? "",
  }));
}

export const crc32 = (bytes: Uint8Array): number => zlib.crc32(bytes);

/** `info registers`: one map of printed values a processor. */
export function printedRegisters(file: string): Map<string, string>[] {
  return fs
    .readFileSync(file, "utf8")
    .split(/^CPU#\d+/m)
    .slice(1)
    .map((text) => {
      const values = new Map<string, string>();
      for (const [, name = "", value = ""] of text.matchAll(
        /\b([A-Z][A-Z0-9]+) *= *([0-9a-f]+(?: [0-9a-f]{8,16})*)/g,
      ))
        values.set(name, value);
      return values;
    });
}

/** Holds x86 vCPUs against what QEMU printed of the stopped guest. Returns how many values were compared. */
export function expectX86(vcpus: readonly Vcpu[], printed: readonly ReadonlyMap<string, string>[]): number {
  const wide = (value: bigint): string => value.toString(16).padStart(16, "0");
  const hex = (n: number): string => n.toString(16).padStart(8, "0");
  let compared = 0;
  for (const [i, values] of printed.entries()) {
    const registers = vcpus[i]?.registers;
    if (registers?.kind !== "x86") throw new Error("no x86 registers");
    const { general, segments, control, debug, msrs, gdt, idt } = registers;
    const shown = new Map<string, string>();
    for (const [name, value] of Object.entries(general))
      shown.set(name === "rflags" ? "RFL" : name.toUpperCase(), wide(value));
    for (const [name, { selector, base, limit, flags }] of Object.entries(segments)) {
      const text = `${selector.toString(16).padStart(4, "0")} ${wide(base)} ${hex(limit)} ${hex(flags)}`;
      shown.set(name.toUpperCase(), text);
    }
    shown.set("GDT", `${wide(gdt?.base ?? 0n)} ${hex(gdt?.limit ?? 0)}`);
    shown.set("IDT", `${wide(idt?.base ?? 0n)} ${hex(idt?.limit ?? 0)}`);
    for (const name of ["cr0", "cr2", "cr3", "cr4"]) shown.set(name.toUpperCase(), wide(control[name] ?? 0n));
    for (const name of ["dr0", "dr1", "dr2", "dr3", "dr6", "dr7"])
      shown.set(name.toUpperCase(), wide(debug[name] ?? 0n));
    shown.set("EFER", wide(msrs["efer"] ?? 0n));
    const told = new Map(
      Array.from(shown.keys(), (name) => [name, values.get(name)?.padStart(16, "0") ?? ""]),
    );
    expect(shown).toEqual(told);
    compared += shown.size;
  }
  return compared;
}
