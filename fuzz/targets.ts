import { bytesSource } from "../src/io/byte-source.js";
import { CODEC_NAMES, loadCompressor, loadDecompressor } from "../src/io/codecs/codec.js";
import { MemorySink } from "../src/io/byte-sink.js";
import { detectCompression } from "../src/io/codecs/compressions.js";
import { decompressStream } from "../src/io/codecs/streams.js";
import { streamOf } from "../src/io/byte-source.js";
import { DebugInfo } from "../src/dwarf/info.js";
import type { Type } from "../src/dwarf/type.js";
import { ElfFile } from "../src/elf/file.js";
import { ProcessCore } from "../src/elf/core.js";
import { GuestscopeError } from "../src/findings/errors.js";
import type { GuestImage } from "../src/guest/image.js";
import type { OpenOptions } from "../src/guest/options.js";
import { Btf } from "../src/linux/btf.js";
import { BtfTypes } from "../src/linux/btf-types.js";
import { networkNamespaces } from "../src/linux/interfaces.js";
import { expandNames } from "../src/linux/kallsyms.js";
import { decodeOrcEntry, orcLayout } from "../src/linux/unwind/orc.js";
import { openKernel } from "../src/linux/kernel.js";
import { useModuleSymbols } from "../src/linux/modules.js";
import { openFiles } from "../src/linux/open-files.js";
import { processMemory } from "../src/linux/process.js";
import { openSockets } from "../src/linux/sockets.js";
import { systemOf } from "../src/linux/system.js";
import { PageOwners } from "../src/linux/pages/page-owner.js";
import { listTasks } from "../src/linux/tasks.js";
import { Unwinder } from "../src/linux/unwind/backtrace.js";
import { stackStart } from "../src/linux/unwind/task-stack.js";
import { listMappings } from "../src/linux/user-mappings.js";
import { verify } from "../src/open/open.js";
import { readLog } from "../src/linux/log/read.js";
import { openRawGuest } from "../src/vmcore/raw/guest.js";
import { convertLegacy } from "../src/xen/legacy/convert.js";
import { provenCore } from "../test/qemu/core/by-command-line/made-core.js";
import { makeIndexed, makeRing, type MadeKernel } from "../test/linux/log/synthetic.js";
import { attempt, checkCut, checkGuest, checkInput, type Outcome, Violation } from "./checks.js";
import { linuxGuest, linuxSeed } from "./linux-guest.js";
import { heads } from "./heads.js";
import { diff, search, session } from "./looking.js";
import type { Random } from "./random.js";
import {
  avmls,
  dwarfFiles,
  elfFiles,
  elfVmcores,
  envelopes,
  fixture,
  type Inputs,
  kdumps,
  legacyStreams,
  libvirtSaves,
  limes,
  qcow2Images,
  qemuStreams,
  shared,
  xenCores,
  xenStreams,
} from "./seeds.js";
import { packedFrames } from "./packed-frames.js";
import { resync } from "./resync.js";
import { checkWeb } from "./web.js";

/** A reader, or a part of one, with inputs to start from. */
export interface Target {
  readonly name: string;
  readonly seeds: () => Promise<Inputs> | Inputs;
  /** Reads an input in every way there is. @throws Violation */
  run(bytes: Uint8Array, random: Random): Promise<Outcome>;
  /** Reads a seed whose end is cut off, where less is known then, never something else. */
  cut?(bytes: Uint8Array, at: number): Promise<Outcome>;
  /** Seeds are given to it as they are: it changes them itself. They are large, and have no limits of small inputs. */
  readonly isWhole?: boolean;
}

function formatTarget(
  name: string,
  seeds: Target["seeds"],
  options: OpenOptions = {},
  isCuttable = true,
): Target {
  return {
    name,
    seeds,
    run: (bytes, random) => checkInput(bytes, random, options),
    ...(isCuttable ? { cut: (bytes: Uint8Array, at: number) => checkCut(bytes, at, options) } : {}),
  };
}

/** An outcome of an error that bad input may cause. */
const codeOf = (result: unknown): Outcome => (result instanceof GuestscopeError ? result.code : "read");

const legacy: Target = {
  ...formatTarget(
    "xen-legacy",
    () => ({
      ...legacyStreams(),
      xsmall: fixture("xen-legacy", "hvm64-xsmall.legacy.gz"),
      ...shared("fuzz", /^legacy-/),
    }),
    {},
    false,
  ),
  async run(bytes, random) {
    const outcome = await checkInput(bytes, random);
    const sink = new MemorySink();
    const converted = await attempt("convert", async () => convertLegacy(bytesSource(bytes), sink));
    const own = await verify(bytesSource(bytes));
    const isRefused = converted instanceof GuestscopeError;
    if (own.format === "xen-legacy" && own.report.valid === isRefused) {
      const errors = own.report.findings.filter(({ severity }) => severity === "error");
      throw new Violation(
        `verify says ${own.report.verdict} (${errors.map(({ code }) => code).join(" ")}), convert ${isRefused ? converted.code : "takes it"}`,
      );
    }
    if (isRefused) return `${outcome} ${converted.code}`;
    const { report } = await verify(bytesSource(sink.bytes()));
    if (!report.valid)
      throw new Violation(
        `a conversion that succeeds makes an invalid stream: ${report.findings.map(({ code, message }) => `${code} ${message}`).join("; ")}`,
      );
    return `${outcome} converted`;
  },
};

const elf: Target = {
  name: "elf",
  seeds: () => ({ ...elfFiles(), ...shared("fuzz", /^(elf|core)-|debug/) }),
  async run(bytes) {
    const result = await attempt("ELF", async () => {
      const file = await ElfFile.open(bytesSource(bytes));
      for (const act of [
        async () => {
          for (const section of (await file.sections()).slice(0, 64)) await file.sectionData(section);
        },
        async () => file.notes(),
        async () => file.buildId(),
        async () => (await file.symbols()).find("main"),
        async () => file.debugLink(),
        async () => file.debugAltLink(),
        async () => file.supplementId(),
        async () => ProcessCore.open(bytesSource(bytes)),
      ])
        await attempt("ELF", act as () => Promise<unknown>);
      return file;
    });
    return codeOf(result);
  },
};

const NAMES = [
  "counter",
  "box",
  "int",
  "address_space_memory",
  "ram_list",
  "MemoryRegion",
  "CPUX86State",
  "first",
];
const KINDS = ["structure", "typedef", "base", "union", "enumeration"] as const;

function walk(type: Type, depth: number): void {
  if (depth > 6) return;
  void type.size;
  void String(type);
  for (const member of type.members().slice(0, 20)) walk(member.type, depth + 1);
}

const dwarf: Target = {
  name: "dwarf",
  seeds: () => ({ ...dwarfFiles(), ...shared("fuzz", /^dwarf-|debug/) }),
  async run(bytes) {
    const found: string[] = [];
    const result = await attempt("DWARF", async () => {
      const info = await DebugInfo.open(await ElfFile.open(bytesSource(bytes)));
      for (const name of NAMES) {
        const variable = await attempt("variable", async () => info.variable(name));
        found.push(codeOf(variable));
        await attempt("variables", async () => info.variables(name));
        for (const kind of KINDS) {
          const type = await attempt("type", async () => info.type(kind as never, name));
          if (type === undefined || type instanceof GuestscopeError) continue;
          found.push(codeOf(await attempt("members", async () => walk(type, 0))));
        }
      }
    });
    return [codeOf(result), ...new Set(found)].join(" ");
  },
};

/** A block of BTF: a few types of every kind. */
function btfBlock(): Uint8Array {
  const names = "\0int\0a\0b\0outer\0outer_t\0";
  const types = [
    [1, 1 << 24, 4, (1 << 24) | 32],
    [5, (4 << 24) | 0x8000_0002, 16, 5, 1, (3 << 24) | 5, 7, 1, 32],
    [0, 3 << 24, 0, 1, 1, 2],
    [15, 8 << 24, 2],
    [0, 2 << 24, 4],
    [5, (6 << 24) | 2, 4, 5, 0, 7, 1],
    [0, (5 << 24) | 2, 8, 5, 3, 0, 0, 5, 32],
    [0, (13 << 24) | 1, 1, 5, 5],
    [1, 12 << 24, 8],
    [5, 14 << 24, 1, 1],
    [0, (15 << 24) | 1, 64, 10, 0, 4],
  ].flat();
  const out = Buffer.alloc(24 + types.length * 4 + names.length);
  out.writeUInt16LE(0xeb9f, 0);
  out.writeUInt8(1, 2);
  for (const [i, value] of [24, 0, types.length * 4, types.length * 4, names.length].entries())
    out.writeUInt32LE(value, 4 + 4 * i);
  for (const [i, word] of types.entries()) out.writeUInt32LE(word >>> 0, 24 + 4 * i);
  out.write(names, 24 + types.length * 4, "latin1");
  return Uint8Array.from(out);
}

const btf: Target = {
  name: "btf",
  seeds: () => ({ block: btfBlock() }),
  async run(bytes) {
    const result = await attempt("BTF", async () => {
      const types = new BtfTypes(new Btf(bytes), 8);
      for (const kind of ["struct", "union", "typedef", "int", "enum"] as const)
        for (const name of ["int", "outer", "outer_t", "a", "b"]) {
          const type = types.find(kind, name);
          if (type === undefined) continue;
          const members = type.members();
          for (const member of members.slice(0, 20)) void member.type.size;
          type.enumerators();
          type.target();
        }
    });
    return codeOf(result);
  },
};

/** Names of kallsyms: two-byte length of the names' part, then names, tokens and their index. */
function kallsymsBlock(): Uint8Array {
  const tokens: number[] = [];
  const index: number[] = [];
  for (let i = 0; i < 256; i += 1) {
    index.push(tokens.length & 0xff, tokens.length >> 8);
    tokens.push(...Buffer.from(i < 128 ? String.fromCharCode(i === 0 ? 65 : i) : `t${i}`), 0);
  }
  const names: number[] = [];
  for (let i = 0; i < 60; i += 1) {
    const text = [84, 95, 97 + (i % 26), 128 + i];
    names.push(text.length, ...text);
  }
  const head = [names.length & 0xff, names.length >> 8, tokens.length & 0xff, tokens.length >> 8];
  return Uint8Array.from([...head, ...names, ...tokens, ...index]);
}

const kallsyms: Target = {
  name: "kallsyms",
  seeds: () => ({ names: kallsymsBlock() }),
  async run(bytes) {
    const at = (i: number): number => (bytes[i] ?? 0) | ((bytes[i + 1] ?? 0) << 8);
    const [namesEnd, tokensEnd] = [4 + at(0), 4 + at(0) + at(2)];
    const result = await attempt("kallsyms", async () =>
      expandNames({
        count: 60,
        names: bytes.subarray(4, namesEnd),
        tokenTable: bytes.subarray(namesEnd, tokensEnd),
        tokenIndex: bytes.subarray(tokensEnd, tokensEnd + 512),
      }),
    );
    return codeOf(result);
  },
};

const orc: Target = {
  name: "orc",
  seeds: () => ({ entry: Uint8Array.from([8, 0, 0xf0, 0xff, 0x25, 2, 1, 2, 3, 4]) }),
  async run(bytes) {
    const result = await attempt("orc", async () =>
      decodeOrcEntry(
        orcLayout(undefined, bytes[6] === 1 ? "6.1.0" : "6.12.0"),
        Uint8Array.from({ length: 6 }, (_, i) => bytes[i] ?? 0),
      ),
    );
    return codeOf(result);
  },
};

const message = (i: number): never =>
  ({
    text: `message ${i}\nand more`,
    tsNsec: BigInt(i) * 1_000_000n,
    level: i % 8,
    facility: i % 24,
    flags: 6,
    caller: i % 2 === 0 ? i : 0x8000_0000 + i,
    subsystem: i % 3 === 0 ? "pci" : "",
    device: "+pci:0000:00:01.0",
  }) as never;

const MESSAGES = Array.from({ length: 12 }, (_, i) => message(i));

/** Kernels with a log of one form or the other; an input is the memory of one, which one is in its first byte. */
const KERNELS: readonly (() => MadeKernel)[] = [
  () => makeRing(MESSAGES, { bits: 64, order: "little", countBits: 4, sizeBits: 9 }).kernel,
  () => makeRing(MESSAGES, { bits: 32, order: "big", countBits: 3, sizeBits: 9 }).kernel,
  () => makeIndexed(MESSAGES, { bits: 64, order: "little", size: 4096, caller: true }).kernel,
  () => makeIndexed(MESSAGES, { bits: 32, order: "big", size: 2048, caller: false }).kernel,
];

const log: Target = {
  name: "log",
  seeds: () =>
    Object.fromEntries(KERNELS.map((make, i) => [String(i), Uint8Array.from([i, ...make().memory.bytes])])),
  async run(bytes) {
    const kernel = KERNELS[(bytes[0] ?? 0) % KERNELS.length]?.();
    if (kernel === undefined) return "none";
    kernel.memory.bytes.set(bytes.subarray(1, 1 + kernel.memory.bytes.length));
    let count = 0;
    const result = await attempt("log", async () => {
      for await (const record of readLog(kernel.source())) {
        void record.text;
        count += 1;
        if (count > 100_000) throw new Violation("more records than bytes can hold");
      }
    });
    return `${codeOf(result)} ${Math.min(count, 16)}`;
  },
};

/** All that is asked of a Linux guest. */
async function askKernel(guest: GuestImage): Promise<Outcome> {
  const kernel = await openKernel(guest);
  await useModuleSymbols(kernel);
  const unwinder = new Unwinder(kernel);
  let count = 0;
  for await (const task of listTasks(kernel, { threads: true, idle: true })) {
    count += 1;
    if (count > MOST_ASKED) continue;
    await attempt("processMemory", async () => processMemory(kernel, task));
    await attempt("bt", async () => unwinder.backtrace(await stackStart(kernel, task)));
    await attempt("files", async () => fromAsync(openFiles(kernel, task), MOST_ASKED));
    if (task.mm !== 0n)
      await attempt("maps", async () => fromAsync(listMappings(kernel, task.mm), MOST_ASKED));
  }
  await systemOf(kernel);
  await attempt("net", async () => fromAsync(networkNamespaces(kernel), MOST_ASKED));
  await attempt("sockets", async () => openSockets(kernel));
  return `${Math.min(count, 8)} ${[...new Set(kernel.troubles.map(({ code }) => code))].sort().join(" ")}`;
}

/** Tasks, files and the like that are looked at of one guest. */
const MOST_ASKED = 40;

async function fromAsync(items: AsyncIterable<unknown>, most: number): Promise<void> {
  let left = most;
  for await (const _ of items) {
    left -= 1;
    if (left === 0) break;
  }
}

const tasks: Target = {
  name: "tasks",
  seeds: async () => ({ guest: await linuxSeed() }),
  async run(bytes) {
    const guest = await linuxGuest(bytes);
    const result = await attempt("kernel", async () => askKernel(guest));
    return typeof result === "string" ? result : codeOf(result);
  },
};

/** A guest with all that finding the owners of its pages reads. */
const OWNERS_GUEST = "panic-6.1.places";
const OWNED_PAGES = 64;

const owners: Target = {
  name: "owners",
  seeds: async () => ({ guest: await linuxSeed(OWNERS_GUEST) }),
  async run(bytes) {
    const guest = await linuxGuest(bytes, OWNERS_GUEST);
    const result = await attempt("owners", async () => {
      const kernel = await openKernel(guest);
      const gpas: number[] = [];
      for (const { start, end } of guest.memory.ranges())
        for (let i = 0; i < OWNED_PAGES && start + i * 4099 < end; i += 1) gpas.push(start + i * 4099);
      await new PageOwners(kernel).ownersOf(gpas.slice(0, 16 * OWNED_PAGES));
    });
    return codeOf(result);
  },
};

const codecs: Target = {
  name: "codecs",
  async seeds() {
    const inputs: Inputs = {};
    const bytes = Uint8Array.from({ length: 4096 }, (_, i) => (i % 5 === 0 ? i >> 3 : 7));
    for (const [i, name] of CODEC_NAMES.entries())
      inputs[name] = Uint8Array.from([i, ...(await loadCompressor(name))(bytes, 1)]);
    return inputs;
  },
  async run(bytes) {
    const name = CODEC_NAMES[(bytes[0] ?? 0) % CODEC_NAMES.length] ?? "zlib";
    const unpack = await loadDecompressor(name);
    const result = await attempt(name, async () => {
      const out = unpack(bytes.subarray(1), 4096);
      if (out.length !== 4096) throw new Violation(`${name}: ${out.length} bytes`);
    });
    return `${name} ${codeOf(result)}`;
  },
};

const packed: Target = {
  name: "packed-streams",
  async seeds() {
    const zlib = await import("node:zlib");
    const { execFileSync } = await import("node:child_process");
    const plain = Uint8Array.from({ length: 20_000 }, (_, i) => (i % 5 === 0 ? i >> 3 : 7));
    const inputs: Inputs = { gzip: Uint8Array.from(zlib.gzipSync(plain)) };
    for (const [name, ...args] of [
      ["zstd", "-c"],
      ["xz", "-c"],
      ["lz4", "-c", "-B4"],
      ["bzip2", "-c"],
      ["lzop", "-c"],
    ] as const) {
      try {
        inputs[name] = Uint8Array.from(
          execFileSync(name, args, { input: plain, stdio: ["pipe", "pipe", "ignore"] }),
        );
      } catch {
        // a program that isn't here: the others do
      }
    }
    return inputs;
  },
  async run(bytes) {
    const result = await attempt("unpack", async () => {
      const name = detectCompression(bytes);
      if (name === undefined) return;
      const stream = decompressStream(name, streamOf(bytesSource(bytes)));
      const into = new Uint8Array(65_536);
      let total = 0;
      for (;;) {
        const n = await stream.read(into);
        if (n === 0) break;
        total += n;
        if (total > 64 << 20) break;
      }
    });
    return codeOf(result);
  },
  /** What comes of packed data that end early is what came first of the whole. */
  async cut(bytes, at) {
    const whole = await unpackedOf(bytes);
    const part = await unpackedOf(bytes.slice(0, at));
    if (Buffer.compare(part, whole.subarray(0, part.length)) !== 0)
      throw new Violation(
        `cut at ${at} of ${bytes.length}: other bytes than the whole's first ${part.length}`,
      );
    return "cut";
  },
};

/** What a packed stream gives before it ends, or before the error that ends it. */
async function unpackedOf(bytes: Uint8Array): Promise<Uint8Array> {
  const name = detectCompression(bytes);
  const parts: Uint8Array[] = [];
  if (name === undefined) return Buffer.concat(parts);
  const stream = decompressStream(name, streamOf(bytesSource(bytes)));
  const into = new Uint8Array(65_536);
  await attempt("unpack", async () => {
    for (let n = await stream.read(into); n > 0; n = await stream.read(into)) parts.push(into.slice(0, n));
  });
  return Buffer.concat(parts);
}

/** A core's program, opened by any name. */
const debugFile: { bytes: Uint8Array | undefined } = { bytes: undefined };
const qemuCore: Target = {
  name: "qemu-core",
  async seeds() {
    const zstd = await loadZstd();
    debugFile.bytes = Object.values(shared("fuzz", /^mimic-debug/))[0];
    const core = Object.values(shared("fuzz", /^mimic-core/))[0];
    return core === undefined ? {} : { mimic: zstd(core) };
  },
  run: (bytes, random) => checkInput(bytes, random, coreOptions()),
  cut: (bytes, at) => checkCut(bytes, at, coreOptions()),
};

/** Cores of QEMU without debug information. */
const qemuCoreByCommandLine: Target = formatTarget(
  "qemu-core-command-line",
  () => ({ made: provenCore() }),
  { qemu: { withoutDebugInfo: true } },
  false,
);

const coreOptions = (): OpenOptions => ({
  openFile: async () => bytesSource(debugFile.bytes ?? new Uint8Array(0), "debug"),
  qemu: { debugFile: "debug" },
});

async function loadZstd(): Promise<(bytes: Uint8Array) => Uint8Array> {
  const { decompress } = await import("fzstd");
  return (bytes) => decompress(bytes);
}

const raw: Target = {
  name: "raw",
  seeds: () => ({ pages: new Uint8Array(3 * 4096).map((_, i) => i >> 4) }),
  async run(bytes, random) {
    const options: OpenOptions = { raw: { base: random.below(4) * 4096, offset: random.below(3) } };
    const guest = await attempt("raw", async () => openRawGuest(bytesSource(bytes), options));
    return guest instanceof GuestscopeError ? guest.code : checkGuest(guest, random, false, false);
  },
};

const web: Target = {
  name: "http",
  seeds: () => ({
    long: new Uint8Array(700_001).map((_, i) => (i * 31 + (i >> 12)) & 0xff),
    short: new Uint8Array(9),
  }),
  run: checkWeb,
};

/** Everything that is fuzzed, by name. */
export const TARGETS: readonly Target[] = [
  formatTarget("xen-stream", () => ({
    ...xenStreams(),
    ...shared("fuzz", /^(v3|xen-pfn|terminal|xl-config)/, 30_000),
  })),
  legacy,
  formatTarget("envelopes", () => ({ ...envelopes(), ...shared("fuzz", /^xapi/) })),
  formatTarget("qemu-stream", qemuStreams, {}, false),
  formatTarget("libvirt", libvirtSaves, {}, false),
  formatTarget("qcow2", qcow2Images, {}, false),
  formatTarget("elf-vmcore", async () => ({ ...(await elfVmcores()), ...shared("fuzz", /^elf-/) })),
  formatTarget("kdump", async () => ({ ...(await kdumps()), ...shared("fuzz", /^(kdump|flattened)/) })),
  formatTarget("lime", limes),
  formatTarget("avml", avmls),
  formatTarget("xen-core", xenCores),
  qemuCore,
  qemuCoreByCommandLine,
  raw,
  web,
  elf,
  dwarf,
  btf,
  kallsyms,
  orc,
  log,
  tasks,
  owners,
  codecs,
  packed,
  packedFrames,
  search,
  diff,
  session,
  resync,
  heads,
];
