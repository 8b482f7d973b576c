// over 350 lines: the way in, one step after another, and the object that the steps make
import type { Architecture } from "../guest/arch/architecture.js";
import type { GuestImage } from "../guest/image.js";
import { memoryTotals } from "../guest/memory.js";
import { withVmcoreInfo } from "../guest/kernel/brought-vmcoreinfo.js";
import { parseVmcoreInfo } from "../guest/kernel/vmcoreinfo.js";
import { AbsentError, FormatError } from "../findings/errors.js";
import { AddressSpace } from "./address-space.js";
import { attempt } from "./attempt.js";
import { readKernelBtf } from "./btf-find.js";
import { BtfTypes } from "./btf-types.js";
import { CachedMemory } from "../guest/cached-memory.js";
import type { AddressForm } from "./kallsyms.js";
import { readKallsyms } from "./kallsyms-find.js";
import {
  hexEntry,
  hexNumberEntry,
  type KernelPaging,
  kernelPaging,
  symbolEntry,
  type VmcoreInfoMap,
} from "./kernel-tables.js";
import { decodeText, KernelObject, type ObjectHome } from "./object.js";
import { readU64 } from "./read.js";
import {
  absent,
  damaged,
  hex,
  LINUX_RULES,
  type OnTrouble,
  type Trouble,
  troubleCollector,
} from "./rules.js";
import { type SymbolPlace, type SymbolTable } from "./symbols.js";
import type { KernelType, KernelTypes } from "./types.js";
import { findUnnamedVariables } from "./unnamed-variables.js";
import { checkBuild, type Vmlinux } from "./vmlinux.js";
import { VARIABLE_TYPES } from "./variables.js";

/** How a kernel is opened. */
export interface KernelOptions {
  /** Opens the kernel's vmlinux file, for types or symbols that its memory lacks; asked for only then. */
  readonly vmlinux?: () => Promise<Vmlinux>;
}

/** Bytes of the largest structure that is read at once. */
const LARGEST = 1 << 20;
const LONGEST_STRING = 4096;
/** Nodes take sixteen bytes at least; a kernel's lists may be gone through a few times. */
const BYTES_A_STEP = 4;
const FEWEST_STEPS = 1 << 16;

/** What openKernel found, and why the rest is missing. */
interface Parts {
  readonly guest: GuestImage;
  readonly info: VmcoreInfoMap;
  readonly paging: KernelPaging;
  readonly space: AddressSpace;
  readonly symbols: SymbolTable | undefined;
  readonly addressForm: AddressForm | undefined;
  readonly whyNoSymbols: AbsentError | FormatError | undefined;
  readonly types: KernelTypes | undefined;
  readonly whyNoTypes: AbsentError | FormatError | undefined;
  /** Variables that were found by what they hold. */
  readonly unnamed: ReadonlyMap<string, bigint>;
}

/** The kernel of a saved Linux guest, read from the guest's own memory. */
export class Kernel implements ObjectHome {
  readonly guest: GuestImage;
  readonly arch: Architecture;
  /** VMCOREINFO. */
  readonly info: VmcoreInfoMap;
  /** The kernel's virtual memory. */
  readonly space: AddressSpace;
  /** The symbols of the kernel's image; undefined when it has none, see `needSymbols`. */
  readonly symbols: SymbolTable | undefined;
  /** How kallsyms holds addresses. */
  readonly addressForm: AddressForm | undefined;
  /** The kernel's types; undefined when it has none, see `needTypes`. */
  readonly types: KernelTypes | undefined;
  /** How far the kernel was moved from its link address (KASLR), in bytes. */
  readonly slide: bigint;
  readonly #paging: KernelPaging;
  readonly #parts: Parts;
  readonly #notes = troubleCollector();
  #steps = 0;
  #mostSteps: number | undefined;
  /** Symbols of modules: asked after the image's own. */
  #modulePlaces: ((address: bigint) => SymbolPlace | undefined) | undefined;

  constructor(parts: Parts) {
    this.guest = parts.guest;
    this.arch = parts.guest.arch;
    this.info = parts.info;
    this.space = parts.space;
    this.symbols = parts.symbols;
    this.addressForm = parts.addressForm;
    this.types = parts.types;
    this.slide = hexEntry(parts.info, "KERNELOFFSET") ?? 0n;
    this.#paging = parts.paging;
    this.#parts = parts;
  }

  /** The kernel's release: `6.1.0-56-cloud-amd64`. */
  get release(): string | undefined {
    return this.info.get("OSRELEASE");
  }

  /** Counts a node of a list or tree; false once there were more than the guest's memory can hold, several times over. */
  step(): boolean {
    this.#mostSteps ??= FEWEST_STEPS + memoryTotals(this.guest.memory).present / BYTES_A_STEP;
    this.#steps += 1;
    return this.#steps <= this.#mostSteps;
  }

  /** What was missing or damaged so far. */
  get troubles(): readonly Trouble[] {
    return this.#notes.troubles;
  }

  /** Takes note of something missing or damaged. */
  readonly note: OnTrouble = (rule, message) => this.#notes.add(rule, message);

  /** The symbols. @throws AbsentError, FormatError that says why there are none. */
  needSymbols(): SymbolTable {
    if (this.symbols !== undefined) return this.symbols;
    throw this.#parts.whyNoSymbols ?? absent(LINUX_RULES.noKallsyms, "the kernel's symbols can't be had");
  }

  /** The types. @throws AbsentError, FormatError that says why there are none. */
  needTypes(): KernelTypes {
    if (this.types !== undefined) return this.types;
    throw this.#parts.whyNoTypes ?? absent(LINUX_RULES.noTypes, "the kernel's types can't be had");
  }

  /** A structure of the kernel by name. @throws AbsentError */
  struct(name: string): KernelType {
    const types = this.needTypes();
    const type = types.find("struct", name) ?? types.find("union", name) ?? types.find("typedef", name);
    if (type === undefined) throw absent(LINUX_RULES.noType, `this kernel's types have no struct ${name}`);
    return type;
  }

  /** Whether this kernel has a structure of that name. */
  hasStruct(name: string): boolean {
    return (this.types?.find("struct", name) ?? this.types?.find("union", name)) !== undefined;
  }

  /** Address of a variable or function; undefined when neither kallsyms nor VMCOREINFO names it. */
  symbol(name: string): bigint | undefined {
    return this.symbols?.address(name) ?? symbolEntry(this.info, name) ?? this.#parts.unnamed.get(name);
  }

  /** As `symbol`. @throws AbsentError `linux/symbol/absent`, or why there are no symbols at all. */
  needSymbol(name: string): bigint {
    const address = this.symbol(name);
    if (address !== undefined) return address;
    const symbols = this.needSymbols();
    const all =
      symbols.address("init_task") === undefined && symbols.address("jiffies") === undefined
        ? ": the kernel was built without CONFIG_KALLSYMS_ALL, which would name its variables"
        : "";
    throw absent(LINUX_RULES.noSymbol, `the kernel's symbols have no ${name}${all}`);
  }

  /** The symbol that holds an address, in the image or in a module. */
  place(address: bigint): SymbolPlace | undefined {
    return this.#modulePlaces?.(address) ?? this.#imagePlace(address);
  }

  #imagePlace(address: bigint): SymbolPlace | undefined {
    const place = this.symbols?.place(address);
    // beyond the image only per-CPU symbols, which are small numbers, would come before it
    return place === undefined || (place.size === 0 && place.offset > 1 << 20) ? undefined : place;
  }

  /** Puts the symbols of modules beside the image's. */
  useModules(place: (address: bigint) => SymbolPlace | undefined): void {
    this.#modulePlaces = place;
  }

  /** Fills `into` from a virtual address of the kernel on; returns how many bytes could be read. */
  readVirtual(address: bigint, into: Uint8Array): number | Promise<number> {
    return this.space.read(address, into);
  }

  /**
   * A structure in memory.
   *
   * @throws AbsentError when nothing of it can be read; what is missing at its end is said when it is asked for.
   */
  async load(type: KernelType | string, address: bigint): Promise<KernelObject> {
    return this.loadFrom(this.space, type, address);
  }

  /** As `load`, from other virtual memory. */
  async loadFrom(space: AddressSpace, type: KernelType | string, address: bigint): Promise<KernelObject> {
    const known = typeof type === "string" ? this.struct(type) : type;
    if (known.size > LARGEST || known.size === 0)
      throw absent(LINUX_RULES.noType, `struct ${known.name} has ${known.size} bytes in this kernel's types`);
    const bytes = new Uint8Array(known.size);
    const result = space.read(address, bytes);
    const n = result instanceof Promise ? await result : result;
    if (n === known.size) return new KernelObject(this, known, address, bytes);
    const why = await space.whyUnreadable(address + BigInt(n));
    if (n === 0)
      throw absent(LINUX_RULES.memory, `struct ${known.name} at ${hex(address)} can't be read: ${why}`);
    return new KernelObject(this, known, address, bytes.subarray(0, n), why);
  }

  /** As `load`; what can't be read is noted, and the answer undefined. */
  async tryLoad(
    type: KernelType | string,
    address: bigint,
    note: OnTrouble = this.note,
  ): Promise<KernelObject | undefined> {
    try {
      return await this.load(type, address);
    } catch (error) {
      if (!(error instanceof AbsentError)) throw error;
      note(LINUX_RULES.memory, error.message);
      return undefined;
    }
  }

  /** The error for a member that this kernel's type lacks. */
  noMember(struct: string, member: string): AbsentError {
    return absent(LINUX_RULES.noType, `this kernel's struct ${struct} has no member ${member}`);
  }

  /** Type of a global variable. @throws AbsentError */
  #variableType(name: string): { readonly type: string | KernelType; readonly isPointer: boolean } {
    const declared = VARIABLE_TYPES[name];
    if (declared?.endsWith(" *") === true) return { type: declared.slice(0, -2), isPointer: true };
    if (declared !== undefined) return { type: declared, isPointer: false };
    const type = this.needTypes().variable?.(name);
    if (type === undefined)
      throw absent(LINUX_RULES.noType, `the type of the kernel's variable ${name} is not known`);
    if (type.kind === "pointer") {
      const target = type.target();
      if (target !== undefined) return { type: target, isPointer: true };
    }
    return { type, isPointer: false };
  }

  /** A global variable, or what it points to. @throws AbsentError */
  async object(name: string): Promise<KernelObject> {
    return this.#variable(name, this.needSymbol(name));
  }

  async #variable(name: string, address: bigint): Promise<KernelObject> {
    const { type, isPointer } = this.#variableType(name);
    if (!isPointer) return this.load(type, address);
    return this.load(type, await this.pointerAt(address));
  }

  /** The pointer at an address. @throws AbsentError `linux/memory/absent` */
  async pointerAt(address: bigint): Promise<bigint> {
    const value = await readU64(this.space, address);
    if (value === undefined)
      throw absent(LINUX_RULES.memory, `a pointer can't be read: ${await this.space.whyUnreadable(address)}`);
    return value;
  }

  /** A text in kernel memory up to its NUL. @throws AbsentError `linux/memory/absent` */
  async string(address: bigint, most = LONGEST_STRING): Promise<string> {
    const bytes = new Uint8Array(most);
    const n = await this.space.read(address, bytes);
    if (n === 0)
      throw absent(LINUX_RULES.memory, `a text can't be read: ${await this.space.whyUnreadable(address)}`);
    return decodeText(bytes.subarray(0, n));
  }

  /** Offset of a CPU's area from the addresses of per-CPU symbols. @throws AbsentError */
  async perCpuOffset(cpu: number): Promise<bigint> {
    const table = this.symbol("__per_cpu_offset");
    // kernels for one CPU have no such table
    if (table === undefined && cpu === 0 && this.symbol("init_task") !== undefined) return 0n;
    return this.pointerAt((table ?? this.needSymbol("__per_cpu_offset")) + BigInt(cpu * 8));
  }

  /** Address of a per-CPU variable on one CPU. @throws AbsentError */
  async perCpuAddress(name: string, cpu: number): Promise<bigint> {
    return BigInt.asUintN(64, this.needSymbol(name) + (await this.perCpuOffset(cpu)));
  }

  /** A per-CPU variable, or what it points to, on one CPU. @throws AbsentError */
  async perCpu(name: string, cpu: number): Promise<KernelObject> {
    return this.#variable(name, await this.perCpuAddress(name, cpu));
  }

  /** Virtual memory of a process: `pgd` is the kernel's address of its top page table. */
  async processSpace(pgd: bigint): Promise<AddressSpace> {
    const root = await this.space.translate(pgd);
    if (root === undefined)
      throw absent(LINUX_RULES.memory, `page tables at ${hex(pgd)}: ${await this.space.whyUnreadable(pgd)}`);
    return new AddressSpace(this.space.memory, this.#paging.process(root));
  }

  /** A code address without the signature that pointer authentication put into it. */
  stripPac(address: bigint): bigint {
    if (this.arch.name !== "aarch64") return address;
    const mask = hexNumberEntry(this.info, "NUMBER(KERNELPACMASK)") ?? 0n;
    return (address >> 55n) & 1n ? address | mask : address & ~mask;
  }
}

/** Symbols from kallsyms, or from a file, which has no form of its own. */
interface FoundSymbols {
  readonly table: SymbolTable;
  readonly form?: AddressForm;
}

/**
 * Opens the kernel of a saved Linux guest: VMCOREINFO, page tables, symbols (kallsyms) and types (BTF), all from the
 * guest's memory. A kernel without symbols or types is opened too and says why when they are asked for.
 *
 * @throws AbsentError when the memory holds no VMCOREINFO; FormatError when VMCOREINFO and page tables disagree.
 */
export async function openKernel(given: GuestImage, options: KernelOptions = {}): Promise<Kernel> {
  const guest = await withVmcoreInfo(given);
  const { vmcoreInfo, source } = guest.facts;
  if (vmcoreInfo === undefined)
    throw absent(LINUX_RULES.noVmcoreInfo, "the guest's memory holds no VMCOREINFO: no kernel is known", {
      source,
    });
  const info = parseVmcoreInfo(vmcoreInfo.text);
  const memory = new CachedMemory(guest.memory);
  const paging = kernelPaging(guest, memory, info);
  const space = new AddressSpace(memory, paging.kernel);
  const text = symbolEntry(info, "_stext");
  if (text === undefined || (await space.translate(text)) === undefined) {
    const why = text === undefined ? "it does not name _stext" : await space.whyUnreadable(text);
    throw damaged(LINUX_RULES.badVmcoreInfo, `VMCOREINFO and the kernel's page tables disagree: ${why}`, {
      source,
    });
  }
  let symbols = await attempt<FoundSymbols>(async () => readKallsyms(space, info));
  let types = await attempt<KernelTypes>(
    async () => new BtfTypes(await readKernelBtf(space, info, symbols.value?.table), 8),
  );
  const lacksSymbols = symbols.value?.table.address("init_task") === undefined; // kallsyms may name functions alone
  if (options.vmlinux !== undefined && (lacksSymbols || types.value === undefined)) {
    const vmlinux = await options.vmlinux();
    checkBuild(vmlinux, info.get("BUILD-ID"));
    if (types.value === undefined) types = { value: vmlinux.types };
    if (lacksSymbols) {
      const table = await vmlinux.symbols(hexEntry(info, "KERNELOFFSET") ?? 0n);
      if (table !== undefined) symbols = { value: { table } };
    }
  }
  return new Kernel({
    guest,
    info,
    paging,
    space,
    symbols: symbols.value?.table,
    addressForm: symbols.value?.form,
    whyNoSymbols: symbols.error,
    types: types.value,
    whyNoTypes: types.error,
    unnamed:
      types.value === undefined || symbols.value?.table.address("init_task") !== undefined
        ? new Map()
        : await findUnnamedVariables(space, types.value, info, text),
  });
}
