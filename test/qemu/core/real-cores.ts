import * as fs from "node:fs";
import * as path from "node:path";
import { DebugInfo } from "../../../src/dwarf/info.js";
import { ElfFile } from "../../../src/elf/file.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { type FileSource, openFile } from "../../../src/io/node/files.js";
import { guestOfQemu, openCore, type OpenedQemu, openQemuProcess } from "../../../src/qemu/core/guest.js";
import type { QemuStateOptions } from "../../../src/qemu/core/state.js";
import { elfVmcore } from "../../../src/vmcore/elf/format.js";
import { sharedData, unzstd } from "../../shared.js";

export const cores = path.join(sharedData, "qemu-core");

/** What meta.json says of a case, as far as it is used here. */
export interface Meta {
  readonly truth: {
    readonly flat_ranges: readonly {
      gpa: string;
      size: string;
      offset_in_region: string;
      name: string;
      hva?: string;
      block?: string;
      selected: boolean;
      fr_readonly: boolean;
      fr_nonvolatile: boolean;
    }[];
    readonly ram_blocks: readonly {
      addr: string;
      idstr: string;
      host: string;
      offset: string;
      used_length: string;
      max_length: string;
      flags: string;
      fd: number;
      page_size: number;
    }[];
    readonly expected_segments: readonly { gpa: string; size: string; hva: string }[];
  };
}

export const metaOf = (name: string): Meta =>
  JSON.parse(fs.readFileSync(path.join(cores, name, "meta.json"), "utf8")) as Meta;

/** Real cores with their debug information, unpacked once each. */
export class RealCores {
  readonly #folder: string;
  readonly #debug = new Map<string, Promise<{ elf: ElfFile; info: DebugInfo }>>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  debugPath(name = "qemu-system-x86_64"): string {
    return unzstd(path.join(cores, "debug", `${name}.debug.zst`), this.#folder, { name: `${name}.debug` });
  }

  debug(name: string): Promise<{ elf: ElfFile; info: DebugInfo }> {
    const known = this.#debug.get(name) ?? this.#openDebug(name);
    this.#debug.set(name, known);
    return known;
  }

  async #openDebug(name: string): Promise<{ elf: ElfFile; info: DebugInfo }> {
    const elf = await ElfFile.open(openFile(this.debugPath(name)));
    return { elf, info: await DebugInfo.open(elf) };
  }

  core(name: string): string {
    return unzstd(path.join(cores, name, "core.zst"), this.#folder, { name: `${name}.core` });
  }

  async state(name: string, options: QemuStateOptions = {}, debug?: string): Promise<OpenedQemu> {
    const build = debug ?? (name.startsWith("v10-") ? "qemu10-system-x86_64" : "qemu-system-x86_64");
    return openQemuProcess(await openCore(openFile(this.core(name))), () => this.debug(build), options);
  }

  async guest(name: string, options: QemuStateOptions = {}): Promise<GuestImage> {
    return guestOfQemu(await this.state(name, options), "QEMU process core");
  }

  /** QMP's own dump of the same guest. */
  reference(name: string): string {
    const whole = path.join(cores, name, "ref.vmcore.zst");
    const out = { name: `${name}.ref` };
    if (fs.existsSync(whole)) return unzstd(whole, this.#folder, out);
    const patch = path.join(cores, name, "ref.vmcore.patch.zst");
    return unzstd(patch, this.#folder, { ...out, patchFrom: this.core(name) });
  }

  async referenceGuest(name: string): Promise<GuestImage> {
    const guest = await elfVmcore.reader.openGuest(openFile(this.reference(name)), {});
    if (guest === undefined) throw new Error("ELF vmcores can't be opened");
    return guest;
  }

  backing(name: string, file: string): FileSource {
    return openFile(unzstd(path.join(cores, name, `${file}.zst`), this.#folder));
  }

  /** Removes a case's large files. */
  forget(name: string): void {
    for (const kind of ["core", "ref"])
      fs.rmSync(path.join(this.#folder, `${name}.${kind}`), { force: true });
  }
}

/** Pages that differ between two guests, over all that the second one has: `[address, …]`. */
export async function differingPages(ours: GuestImage, reference: GuestImage): Promise<number[]> {
  const different: number[] = [];
  const a = new Uint8Array(4096);
  const b = new Uint8Array(4096);
  for (const range of reference.memory.ranges()) {
    for (let gpa = range.start; gpa < range.end; gpa += 4096) {
      const length = Math.min(4096, range.end - gpa);
      const theirs = await reference.memory.read(gpa, b.subarray(0, length));
      const got = await ours.memory.read(gpa, a.subarray(0, length));
      if (got !== theirs || Buffer.compare(a.subarray(0, got), b.subarray(0, theirs)) !== 0)
        different.push(gpa);
    }
  }
  return different;
}
