import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { promisify } from "node:util";
import * as zlib from "node:zlib";

const run = promisify(execFile);

/** What an input is, which decides the operations that are run on it. */
type Kind = "legacy" | "xen" | "qevm" | "core" | "vmcore" | "other";

/** One input of a comparison. */
export interface Input {
  /** Unique; parts by `/`. */
  readonly name: string;
  readonly kind: Kind;
  /** Puts the unpacked file into the scratch folder and returns its path and the options that reading it takes. */
  readonly prepare: () => Promise<Prepared>;
  /** Whether operations may take long: they are given up early. */
  readonly hostile: boolean;
  /** Legacy streams: what convert-legacy-stream must be told. */
  readonly legacy?: LegacyFacts | undefined;
}

export interface Prepared {
  readonly file: string;
  readonly options: readonly string[];
  readonly backing?: string;
  /** Whether the file is no other input's base and can go when its operations are done. */
  readonly removable: boolean;
}

export interface LegacyFacts {
  readonly width: string;
  readonly guest: string;
  readonly envelope: string;
}

/** Inputs larger than this get fewer operations, and no damaged variants. In bytes. */
export const SMALL = 24 << 20;

/** Unpacked files of one run: each is unpacked once, whoever asks. */
export class Unpacked {
  readonly folder: string;
  readonly #files = new Map<string, Promise<string>>();
  readonly #bases = new Set<string>();

  constructor(folder: string) {
    this.folder = folder;
  }

  /** The unpacked form of `packed`; `base` is the packed form of what a patch is taken against. */
  file(packed: string, name: string, base?: { packed: string; name: string }): Promise<string> {
    const known = this.#files.get(name);
    if (known !== undefined) return known;
    const made = this.#unpack(packed, name, base);
    this.#files.set(name, made);
    return made;
  }

  /** Marks a file that others are unpacked with. */
  keep(name: string): void {
    this.#bases.add(name);
  }

  removable(name: string): boolean {
    return !this.#bases.has(name);
  }

  /** Each file has a folder of its own: parts of a split dump look for the others beside themselves. */
  place(name: string): string {
    const folder = path.join(this.folder, name.replaceAll("/", "+"));
    fs.mkdirSync(folder, { recursive: true });
    return path.join(folder, "input");
  }

  async #unpack(packed: string, name: string, base?: { packed: string; name: string }): Promise<string> {
    const out = this.place(name);
    if (packed.endsWith(".gz")) fs.writeFileSync(out, unpackedGzip(fs.readFileSync(packed)));
    else if (packed.endsWith(".zst")) {
      const patch = base === undefined ? [] : [`--patch-from=${await this.file(base.packed, base.name)}`];
      await run("zstd", ["-q", "-d", "--long=31", "-f", ...patch, packed, "-o", out]);
    } else fs.copyFileSync(packed, out);
    return out;
  }
}

/** The contents; the packed form itself where it is torn, which is an input too. */
function unpackedGzip(packed: Buffer): Buffer {
  try {
    return zlib.gunzipSync(packed);
  } catch {
    return packed;
  }
}

/** The parts of shared data and of the fixtures that are no inputs. */
const NO_INPUT =
  /\.(json|jsonl|txt|md|xml|cfg|ts|pages|final|json\.gz|jsonl\.gz|txt\.gz|pages\.gz|final\.gz|img\.zst)$|\/debug\/|\/pages\.gz$/;

/** Which file a patch is taken against, by its path below the data folder without `.patch.zst`. */
function baseOf(name: string): string {
  const folder = path.dirname(name);
  const file = path.basename(name);
  if (name === "field/wrong-vmcoreinfo.elf") return "kdump/linux.elf";
  if (name.startsWith("qemu11/lv-sparse/")) return "qemu11/lv-raw/save";
  const within: readonly (readonly [RegExp, string])[] = [
    [/^kdump\/tiny-split.*\.kdump$/, file.replace(/\.kdump$/, ".flat")],
    [/^kdump\/linux/, "linux.zlib-d31.kdump"],
    [/^libvirt-save\//, "raw.save"],
    [/^qemu-core\//, "core"],
    [/^qemu11\/dump-s390x\//, "dump.kdump-zlib.flat"],
    [/^qemu11\/qcow2/, "disk.qcow2"],
    [/^qemu11\/lv-raw\//, "save"],
    [/^qemu/, "stream.qevm"],
    [/^xen-v3\//, file.replace(/\.core$/, ".save")],
    [/^xen420\//, "pvl.save"],
  ];
  const base = within.find(([pattern]) => pattern.test(name))?.[1];
  if (base === undefined) throw new Error(`${name}: no base of this patch is known`);
  return `${folder}/${base}`;
}

function kindOf(name: string): Kind {
  const file = path.basename(name);
  if (/\.legacy$|^legacy-/.test(file)) return "legacy";
  if (/^(core-140000|mimic-core)|\/core$/.test(name) || /fuzz\/(core|mimic-core|dwarf)/.test(name))
    return "core";
  if (/^(data\/)?xen.*\.(save|stream|vsave)$/.test(name) || /^(v3|xen|xl|xapi|terminal)-/.test(file))
    return "xen";
  if (/\.qevm$|save$|domain\.save$/.test(file)) return "qevm";
  if (/\.(elf|kdump|flat|core|dump|ref|vmcore|lime)$|^(elf|kdump|flattened)-/.test(file)) return "vmcore";
  return "other";
}

function legacyFacts(meta: string, fallback: string): LegacyFacts | undefined {
  if (kindOf(fallback) !== "legacy") return undefined;
  const known = fs.existsSync(meta)
    ? (JSON.parse(fs.readFileSync(meta, "utf8")) as { width: number; guest: string; envelope: string })
    : undefined;
  return {
    width: String(known?.width ?? (fallback.includes("32") ? 32 : 64)),
    guest: known?.guest ?? (fallback.includes("pv") ? "pv" : "hvm"),
    envelope: known?.envelope ?? "xl",
  };
}

function filesBelow(folder: string): string[] {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(folder, path.join(entry.parentPath, entry.name)))
    .sort();
}

/** Every input below the fixtures and the shared data, without the damaged variants. */
export function listInputs(roots: { fixtures: string; data: string }, unpacked: Unpacked): Input[] {
  const inputs: Input[] = [];
  const { fixtures, data } = roots;
  for (const file of filesBelow(fixtures).filter((name) => !NO_INPUT.test(name)))
    inputs.push(plainInput(path.join(fixtures, file), `fixtures/${file}`, unpacked));
  const below = filesBelow(data).filter((name) => !NO_INPUT.test(name));
  const packedOf = new Map(below.map((file) => [file.replace(/(\.patch)?\.zst$/, ""), file]));
  for (const [name, packed] of packedOf) {
    const base = packed.endsWith(".patch.zst") ? baseOf(name) : undefined;
    if (base !== undefined) unpacked.keep(`data/${base}`);
    const of = base === undefined ? undefined : { base, packed: packedOf.get(base) ?? "" };
    inputs.push(dataInput(data, name, packed, of, unpacked));
  }
  return inputs;
}

function plainInput(packed: string, named: string, unpacked: Unpacked): Input {
  const name = named.replace(/\.gz$/, "");
  return {
    name,
    kind: kindOf(name),
    hostile: false,
    legacy: legacyFacts(packed.replace(/\.legacy\.gz$/, ".meta.json"), name),
    prepare: async () => ({ file: await unpacked.file(packed, name), options: [], removable: true }),
  };
}

function dataInput(
  data: string,
  below: string,
  packed: string,
  of: { base: string; packed: string } | undefined,
  unpacked: Unpacked,
): Input {
  const name = `data/${below.replace(/\.gz$/, "")}`;
  const base = of === undefined ? undefined : { packed: path.join(data, of.packed), name: `data/${of.base}` };
  return {
    name,
    kind: kindOf(below),
    hostile: below.startsWith("fuzz/"),
    legacy: legacyFacts(path.join(data, `${below.replace(/\.legacy$/, "")}.meta.json`), below),
    prepare: async () => {
      const file = await unpacked.file(path.join(data, packed), name, base);
      const reading = await readingOptions(data, below, unpacked);
      const read = reading.instead ?? file;
      return {
        file: read,
        options: reading.options,
        removable: read === file && unpacked.removable(name),
        ...(reading.backing === undefined ? {} : { backing: reading.backing }),
      };
    },
  };
}

/** What must be given with an input: the debug information of a QEMU core. */
async function readingOptions(
  data: string,
  below: string,
  unpacked: Unpacked,
): Promise<{ options: string[]; backing?: string; instead?: string }> {
  if (/^fuzz\/dwarf-/.test(below))
    return {
      options: ["--debug-file", path.join(data, below)],
      instead: await unpacked.file(path.join(data, "fuzz/mimic-core.bin"), "data/mimic-core"),
    };
  if (/^fuzz\/(core-|mimic-core)/.test(below))
    return { options: ["--debug-file", path.join(data, "fuzz/mimic-debug.bin")] };
  if (!/^qemu-core\/.*\/core$/.test(below)) return { options: [] };
  const build = below.includes("/v10-") ? "qemu10-system-x86_64" : "qemu-system-x86_64";
  const debug = await unpacked.file(path.join(data, `qemu-core/debug/${build}.debug.zst`), `${build}.debug`);
  const image = path.join(data, path.dirname(below), "ram0.img.zst");
  const backing = fs.existsSync(image) ? { backing: `m0=${await unpacked.file(image, "ram0.img")}` } : {};
  return { options: ["--debug-file", debug], ...backing };
}

interface Edit {
  readonly name: string;
  readonly base: string;
  readonly ops: readonly { at?: number; delete?: number; insert?: string; truncate?: number }[];
}

/** The edits of legacy streams in malformed.json, of streams among `inputs`. */
export function listMalformed(fixtures: string, inputs: readonly Input[], unpacked: Unpacked): Input[] {
  const list = path.join(fixtures, "xen-legacy/malformed.json");
  if (!fs.existsSync(list)) return [];
  const { cases } = JSON.parse(fs.readFileSync(list, "utf8")) as { cases: Edit[] };
  return cases.flatMap((edit) => {
    const base = inputs.find(({ name }) => name === `fixtures/xen-legacy/${edit.base}.legacy`);
    if (base === undefined) return [];
    const name = `malformed/${edit.name}`;
    const prepare = async (): Promise<Prepared> => {
      const packed = path.join(fixtures, "xen-legacy", `${edit.base}.legacy.gz`);
      let bytes = zlib.gunzipSync(fs.readFileSync(packed));
      for (const op of edit.ops) bytes = applied(bytes, op);
      const file = unpacked.place(name);
      fs.writeFileSync(file, bytes);
      return { file, options: [], removable: true };
    };
    return [{ name, kind: "legacy" as const, hostile: false, legacy: base.legacy, prepare }];
  });
}

function applied(bytes: Buffer, op: Edit["ops"][number]): Buffer<ArrayBuffer> {
  if (op.truncate !== undefined) return Buffer.from(bytes.subarray(0, op.truncate));
  const at = op.at ?? bytes.length;
  return Buffer.concat([
    bytes.subarray(0, at),
    Buffer.from(op.insert ?? "", "hex"),
    bytes.subarray(at + (op.delete ?? 0)),
  ]);
}

/** Two damaged forms of a small file: cut at 61 percent, and 12 bytes changed, half of them in the first 4 KiB. */
export function damage(file: string): { name: string; file: string }[] {
  const bytes = fs.readFileSync(file);
  const cut = `${file}.cut`;
  const flipped = `${file}.flipped`;
  fs.writeFileSync(cut, bytes.subarray(0, Math.floor(bytes.length * 0.61)));
  // the places follow from the contents, so that every run damages the same
  let state = createHash("sha256").update(bytes).digest().readUInt32LE(0);
  for (let i = 0; i < 12; i += 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const reach = i % 2 === 0 ? Math.min(4096, bytes.length) : bytes.length;
    const at = Math.floor((state / 2 ** 32) * reach);
    bytes[at] = (bytes[at] ?? 0) ^ (1 << (state & 7));
  }
  fs.writeFileSync(flipped, bytes);
  return [
    { name: "cut", file: cut },
    { name: "flipped", file: flipped },
  ];
}
