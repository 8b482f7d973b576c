import { programArguments } from "../../../elf/arguments.js";
import { type LoadedImage, mainImage, ProcessCore } from "../../../elf/core.js";
import { AbsentError, FormatError, type Remedy, UsageError } from "../../../findings/errors.js";
import { absentReasons } from "../../../guest/absent.js";
import type { Architecture } from "../../../guest/arch/architecture.js";
import type { UnplacedBlock } from "../../../guest/image.js";
import { memoryTotals, PAGE_SIZE } from "../../../guest/memory.js";
import type { QemuOptions } from "../../../guest/options.js";
import { type AskedBlock, type AskedMemory, memoryAskedFor } from "../../command-line/memory.js";
import { architectureNamed, emulatorNamed } from "../architecture.js";
import type { Process } from "../guest.js";
import { ExtentMemory } from "../memory.js";
import { type Backing, PresenceRules } from "../presence.js";
import { QEMU_CORE_RULES } from "../rules.js";
import { contentsOf, type PlacedRange, placeBlocks } from "./address-space.js";
import { findRsdp } from "./firmware.js";
import { type MappedBlock, mappingsOf, waysToMap } from "./mapped-blocks.js";
import { type Proof, proofOf } from "./proof.js";

/** A QEMU process whose memory was laid out by its command line. */
export interface LaidOutState {
  readonly process: Process;
  readonly image: LoadedImage;
  readonly asked: AskedMemory;
  readonly arch: Architecture;
  /** RAM where it was placed, ascending. */
  readonly ranges: readonly PlacedRange[];
  readonly memory: ExtentMemory;
  readonly proof: Proof;
  readonly unplaced: readonly UnplacedBlock[];
  readonly warnings: readonly string[];
}

const { noAddress: NO_ADDRESS } = absentReasons({
  noAddress: { kind: "no-address", text: "the command line doesn't say where it is" },
});
const QEMU = /qemu|kvm/i;

/**
 * Lays out a QEMU process's memory by the command line on its stack, the mappings of the sizes it asks for, and the
 * rules of its kind of machine. What the guest's memory doesn't prove is refused, unless its addresses are given.
 *
 * @throws AbsentError `qemu/core/command-line`, `qemu/core/ram-mapping`, `qemu/core/unproven`; FormatError `qemu/core/not-qemu`
 */
export async function layOut(
  process: Process,
  options: Pick<QemuOptions, "arch" | "map">,
  backings: readonly Backing[],
): Promise<LaidOutState> {
  const image = await mainImage(process.memory, process.auxv);
  const args = await programArguments(process.memory, process.auxv);
  const source = process.memory.name;
  if (args === undefined)
    throw new AbsentError(QEMU_CORE_RULES.commandLine, "QEMU's command line is not in the process's stack", {
      source,
    });
  const name = image.path ?? args[0];
  if (!QEMU.test(name?.slice(name.lastIndexOf("/") + 1) ?? "") && !QEMU.test(args[0] ?? ""))
    throw new FormatError(QEMU_CORE_RULES.notQemu, `the program is ${name ?? "unknown"}, not QEMU`, {
      source,
    });
  const asked = memoryAskedFor(args, emulatorNamed(name) ?? emulatorNamed(args[0]));
  return new Mapper(process, image, asked, backings, options).run();
}

/** One way to lay memory out, and what guest memory says of it. */
interface Attempt {
  readonly ranges: readonly PlacedRange[];
  readonly memory: ExtentMemory;
  readonly proof: Proof;
}

class Mapper {
  readonly #process: Process;
  readonly #image: LoadedImage;
  readonly #asked: AskedMemory;
  readonly #presence: PresenceRules;
  readonly #given: ReadonlyMap<string, number>;
  readonly #arch: Architecture;
  readonly #source: string;

  constructor(
    process: Process,
    image: LoadedImage,
    asked: AskedMemory,
    backings: readonly Backing[],
    { arch, map = [] }: Pick<QemuOptions, "arch" | "map">,
  ) {
    this.#process = process;
    this.#image = image;
    this.#asked = asked;
    this.#source = process.memory.name;
    this.#presence = new PresenceRules(process.memory, asked.dumpGuestCore, backings);
    const blocks = this.#allBlocks();
    const names = blocks.map(({ name }) => name);
    for (const { block, address } of map) {
      const refuse = (why: string): UsageError =>
        new UsageError(`RAM block '${block}' at 0x${address.toString(16)}: ${why}`, { source: this.#source });
      if (!names.includes(block)) throw refuse(`there is no such block, only ${names.join(", ")}`);
      if (address % PAGE_SIZE !== 0)
        throw refuse(`the address must be a multiple of a page (${PAGE_SIZE} bytes)`);
    }
    this.#given = new Map(map.map(({ block, address }) => [block, address]));
    const machine = asked.machine;
    if (machine === undefined)
      throw this.#unproven(`the memory map of machine '${asked.type}' is not known`, asked.blocks);
    this.#arch = arch === undefined ? machine.arch : architectureNamed(arch);
  }

  #allBlocks(): readonly AskedBlock[] {
    return [...this.#asked.blocks, ...this.#asked.devices.map(({ block }) => block)];
  }

  async run(): Promise<LaidOutState> {
    const { blocks, devices } = this.#asked;
    const placed = devices.filter(
      ({ driver, block, address }) =>
        this.#given.has(block.name) || (address !== undefined && !driver.startsWith("virtio-mem")),
    );
    const addresses = new Map([
      ...placed.flatMap(({ block, address }): [string, number][] =>
        address === undefined ? [] : [[block.name, address]],
      ),
      ...this.#given,
    ]);
    const wanted = [...blocks, ...placed.map(({ block }) => block)];
    const ways = waysToMap(wanted.map((block) => this.#mappings(block)));
    const asMany = `RAM blocks ${wanted.map(({ name }) => name).join(", ")}: their mappings are alike`;
    if (ways === undefined)
      throw this.#unproven(`${asMany}, more ways to tell them apart than are tried`, wanted);
    const attempts: Attempt[] = [];
    for (const way of ways) attempts.push(await this.#attempt(way, blocks.length, addresses));
    const proven = attempts.filter(({ proof }) => proof.agrees.length > 0);
    const areGiven = blocks.every(({ name }) => this.#given.has(name));
    const [only] = proven.length === 0 && areGiven ? attempts : proven;
    if (only === undefined) throw this.#unproven(notProven(attempts), wanted);
    if (proven.length > 1 || (proven.length === 0 && attempts.length > 1))
      throw this.#unproven(
        `${asMany}, and ${attempts.length} ways to tell them apart fit guest memory`,
        wanted,
      );
    const left = devices.filter((device) => !placed.includes(device));
    return {
      process: this.#process,
      image: this.#image,
      asked: this.#asked,
      arch: this.#arch,
      ...only,
      memory: await this.#final(only),
      unplaced: left.map(({ block: { name, size } }) => ({ name, size, reason: NO_ADDRESS })),
      warnings: this.#warnings(only.proof),
    };
  }

  #mappings(block: AskedBlock): readonly MappedBlock[] {
    const { memory } = this.#process;
    const isLeftOut = block.isLeftOut || !this.#asked.dumpGuestCore;
    const found = mappingsOf(memory, block).filter(
      ({ host }) =>
        !isLeftOut || !(memory instanceof ProcessCore) || isWithoutContents(memory, host, block.size),
    );
    if (found.length > 0) return found;
    const text = `no mapping can be RAM block '${block.name}' of 0x${block.size.toString(16)} bytes`;
    const why = isLeftOut ? ": the command line leaves it out of cores" : "";
    throw new AbsentError(QEMU_CORE_RULES.ramMapping, text + why, { source: this.#source });
  }

  async #attempt(
    way: readonly MappedBlock[],
    count: number,
    addresses: ReadonlyMap<string, number>,
  ): Promise<Attempt> {
    const { machine, below } = this.#asked;
    if (machine === undefined) throw new TypeError("a machine without a memory map");
    const ranges = placeBlocks(machine, below, way, addresses);
    const clash = ranges.find(({ start }, i) => i > 0 && start < (ranges[i - 1]?.end ?? 0));
    if (clash !== undefined)
      throw new UsageError(
        `RAM block '${clash.mapped.block.name}' at 0x${clash.start.toString(16)}: another block is there`,
        { source: this.#source },
      );
    const memory = new ExtentMemory(contentsOf(ranges, this.#asked, true, this.#presence));
    const built = new Set(way.slice(0, count));
    const layout = joined(ranges.filter(({ mapped }) => built.has(mapped)));
    const plugged = joined(ranges.filter(({ mapped }) => !built.has(mapped)));
    const isPc = machine.split !== undefined;
    return { ranges, memory, proof: await proofOf(memory, { arch: this.#arch, isPc, layout, plugged }) };
  }

  /** ROM is shown below 1 MiB unless firmware has copied itself over it. */
  async #final({ ranges, memory }: Attempt): Promise<ExtentMemory> {
    if (this.#asked.machine?.roms === undefined) return memory;
    const isShadowed = (await findRsdp(memory)) !== undefined;
    return new ExtentMemory(contentsOf(ranges, this.#asked, isShadowed, this.#presence));
  }

  #warnings({ agrees, found }: Proof): readonly string[] {
    const { unclear } = this.#asked;
    return [
      "read without QEMU's debug information: no registers, and no memory of ROMs and devices",
      ...(agrees.length > 0
        ? []
        : [`RAM is at the addresses given: ${["nothing in it proves them", ...found].join("; ")}`]),
      ...(unclear.length === 0
        ? []
        : [`QEMU's command line has ${unclear.join(", ")}, which isn't followed`]),
    ];
  }

  #unproven(why: string, blocks: readonly AskedBlock[]): AbsentError {
    const remedy: Remedy = {
      option: "map",
      value: `${blocks[0]?.name ?? "BLOCK"}@ADDRESS`,
      effect: "says where a block is",
    };
    return new AbsentError(QEMU_CORE_RULES.unproven, why, { source: this.#source }, remedy);
  }
}

/** Whether a core has nothing of a mapping: another one that has contents is not what was left out. */
function isWithoutContents(core: ProcessCore, host: number, size: number): boolean {
  for (const { presence } of core.pieces(host, host + size)) if (presence === "present") return false;
  return true;
}

/** Why no way to lay memory out is proven. */
function notProven(attempts: readonly Attempt[]): string {
  const found = [...new Set(attempts.flatMap(({ proof }) => proof.found))];
  const first = attempts[0];
  const absent = first === undefined ? undefined : absence(first.memory);
  const why = [
    ...(absent === undefined ? [] : [absent]),
    ...(found.length === 0
      ? ["no kernel's VMCOREINFO, memory map in boot_params or ACPI tables were found there"]
      : found),
  ];
  const where = first?.ranges.map(
    ({ start, end, mapped }) => `${mapped.block.name} at 0x${start.toString(16)}-0x${end.toString(16)}`,
  );
  return `nothing in guest memory proves its addresses (${where?.join(", ") ?? "no way to place it"}): ${why.join("; ")}`;
}

function absence(memory: ExtentMemory): string | undefined {
  const { absent } = memoryTotals(memory);
  const reason = [...memory.ranges()].find(({ presence }) => presence === "absent")?.reason?.text;
  return absent === 0 ? undefined : `0x${absent.toString(16)} bytes of it are not there (${reason ?? "?"})`;
}

function joined(ranges: readonly PlacedRange[]): readonly { start: number; end: number }[] {
  const all: { start: number; end: number }[] = [];
  for (const { start, end } of ranges) {
    const last = all.at(-1);
    if (last?.end === start) last.end = end;
    else all.push({ start, end });
  }
  return all;
}
