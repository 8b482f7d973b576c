import { directoryOf } from "../io/path-parts.js";
import { ELF_RULES } from "./rules.js";
import type { ByteSource } from "../io/byte-source.js";
import { crc32 } from "../io/codecs/checksums.js";
import { AbsentError, FormatError } from "../findings/errors.js";
import { ElfFile } from "./file.js";

/** What a debuginfod server can be asked for. */
export type DebugArtifact = "debuginfo" | "executable";

/** How files with debug info are reached: given by the platform. */
export interface DebugFileAccess {
  /** Opens a file; undefined when there is none that can be read. */
  open(path: string): Promise<ByteSource | undefined>;
  /** Asks debuginfod (its cache, then its servers); undefined when none has it. Left out: not to be asked. */
  fetch?(buildId: string, artifact: DebugArtifact): Promise<ByteSource | undefined>;
}

/** What is known of the program, and where to look. */
export interface DebugFileQuery {
  /** Path of the program as the core names it; may end in ` (deleted)`. */
  readonly programPath?: string | undefined;
  /** Build id of the program in hexadecimal, from the core. */
  readonly buildId?: string | undefined;
  /** The program, given by the user. */
  readonly exe?: string | undefined;
  /** The separate debug file, given by the user. */
  readonly debugFile?: string | undefined;
  /** Roots of debug file trees; default /usr/lib/debug. */
  readonly debugDirs?: readonly string[] | undefined;
}

/** Debug info and what belongs to it. */
export interface DebugFiles {
  /** The file with `.debug_info`: the program itself or a separate file. */
  readonly debug: ElfFile;
  /** The program, where it was found. */
  readonly program: ElfFile | undefined;
  /** The file that `.gnu_debugaltlink` names, where it was found. */
  readonly alternate: ElfFile | undefined;
  /** Package of split units, where it was found. */
  readonly package: ElfFile | undefined;
  /** Opens a `.dwo` of the program. */
  openSplit(name: string, directory: string): Promise<ElfFile | undefined>;
}

const DEFAULT_DEBUG_DIRS: readonly string[] = ["/usr/lib/debug"];

/** Where a debug file tree keeps the file of a build id. */
export function buildIdPath(root: string, buildId: string): string {
  return `${root}/.build-id/${buildId.slice(0, 2)}/${buildId.slice(2)}.debug`;
}

/**
 * Finds the debug info of a program: the given file, the program itself, the build id trees, `.gnu_debuglink`,
 * debuginfod, in this order.
 *
 * @throws FormatError `debug-file/build-id` when a given file is of another program, `debug-file/none` for a given
 *   file without debug info; AbsentError `debug-file/none` (with what would bring it) when nothing is found.
 */
export async function findDebugFiles(access: DebugFileAccess, query: DebugFileQuery): Promise<DebugFiles> {
  return new Finder(access, query).find();
}

class Finder {
  readonly #access: DebugFileAccess;
  readonly #query: DebugFileQuery;
  readonly #dirs: readonly string[];
  #buildId: string | undefined;
  /** Paths looked at and why they didn't do. */
  readonly #tried: string[] = [];

  constructor(access: DebugFileAccess, query: DebugFileQuery) {
    this.#access = access;
    this.#query = query;
    this.#dirs = query.debugDirs ?? DEFAULT_DEBUG_DIRS;
    this.#buildId = query.buildId;
  }

  async find(): Promise<DebugFiles> {
    const program = await this.#program();
    this.#buildId ??= await program?.buildId();
    const debug = await this.#debug(program);
    if (debug === undefined) throw this.#nothing();
    const names = [program?.name, debug.name].flatMap((name) => (name === undefined ? [] : [`${name}.dwp`]));
    return {
      debug,
      program,
      alternate: await this.#alternate(debug),
      package: await this.#first(names, async () => undefined),
      openSplit: (name, directory) => this.#split(name, directory, program ?? debug),
    };
  }

  /** A file the user gave: it must be there and of the program. */
  async #given(path: string): Promise<ElfFile> {
    const elf = await this.#open(path);
    if (elf === undefined) throw new AbsentError(ELF_RULES.debugFileNone, "no such file", { source: path });
    const id = await elf.buildId();
    if (this.#buildId !== undefined && id !== this.#buildId) {
      const text = `has build id ${id ?? "(none)"}, the program of the core has ${this.#buildId}`;
      throw new FormatError(ELF_RULES.debugFileBuildId, text, { source: path });
    }
    return elf;
  }

  async #program(): Promise<ElfFile | undefined> {
    if (this.#query.exe !== undefined) return this.#given(this.#query.exe);
    const path = this.#query.programPath?.replace(/ \(deleted\)$/, "");
    return path === undefined ? undefined : this.#first([path], this.#wrongId);
  }

  async #debug(program: ElfFile | undefined): Promise<ElfFile | undefined> {
    const { debugFile } = this.#query;
    if (debugFile !== undefined) {
      const elf = await this.#given(debugFile);
      if (await hasDebugInfo(elf)) return elf;
      throw new FormatError(ELF_RULES.debugFileNone, "has no debugging information (.debug_info)", {
        source: debugFile,
      });
    }
    if (program !== undefined) {
      if (await hasDebugInfo(program)) return program;
      this.#tried.push(`${program.name}: has no .debug_info`);
    }
    const id = this.#buildId;
    const byId = id === undefined ? [] : this.#dirs.map((root) => buildIdPath(root, id));
    return (
      (await this.#first(byId, (elf) => this.#unfit(elf))) ??
      (await this.#byDebugLink(program)) ??
      (await this.#fetched(id))
    );
  }

  async #byDebugLink(program: ElfFile | undefined): Promise<ElfFile | undefined> {
    const link = await program?.debugLink();
    if (program === undefined || link === undefined) return undefined;
    const directory = directoryOf(program.name);
    const places = [`${directory}/${link.name}`, `${directory}/.debug/${link.name}`];
    const below = this.#dirs.map(
      (root) => `${root}${directory.startsWith("/") ? "" : "/"}${directory}/${link.name}`,
    );
    return this.#first([...places, ...below], async (elf) => {
      const unfit = await this.#unfit(elf);
      // files with a build id are known by it: tools such as dwz change the file and leave the checksum
      if (unfit !== undefined || (await elf.buildId()) !== undefined) return unfit;
      const crc = await fileCrc(elf.source);
      return crc === link.crc
        ? undefined
        : `CRC ${crc.toString(16)}, .gnu_debuglink says ${link.crc.toString(16)}`;
    });
  }

  async #fetched(buildId: string | undefined): Promise<ElfFile | undefined> {
    if (this.#access.fetch === undefined || buildId === undefined) return undefined;
    const source = await this.#access.fetch(buildId, "debuginfo");
    if (source === undefined) {
      this.#tried.push("debuginfod: has none for this build id");
      return undefined;
    }
    const elf = await ElfFile.open(source);
    const unfit = await this.#unfit(elf);
    if (unfit === undefined) return elf;
    this.#tried.push(`${source.name}: ${unfit}`);
    return undefined;
  }

  async #alternate(debug: ElfFile): Promise<ElfFile | undefined> {
    const link = await debug.debugAltLink();
    if (link === undefined) return undefined;
    const base = link.name.slice(link.name.lastIndexOf("/") + 1);
    const near = link.name.startsWith("/") ? link.name : `${directoryOf(debug.name)}/${link.name}`;
    const inDwz = this.#dirs.map((root) => `${root}/.dwz/${base}`);
    const byId = link.buildId.length < 4 ? [] : this.#dirs.map((root) => buildIdPath(root, link.buildId));
    const paths = [near, `${directoryOf(debug.name)}/.dwz/${base}`, ...inDwz, ...byId];
    const found = await this.#first(paths, async (elf) => {
      // .debug_sup has a checksum of its own making instead of a build id
      const id = (await elf.buildId()) ?? (await elf.supplementId());
      return link.buildId === "" || id === link.buildId ? undefined : `build id ${id ?? "(none)"}`;
    });
    if (found !== undefined || this.#access.fetch === undefined || link.buildId === "") return found;
    const source = await this.#access.fetch(link.buildId, "debuginfo");
    return source === undefined ? undefined : ElfFile.open(source);
  }

  #split(name: string, directory: string, program: ElfFile): Promise<ElfFile | undefined> {
    const base = name.slice(name.lastIndexOf("/") + 1);
    const beside = `${directoryOf(program.name)}/${base}`;
    const paths = name.startsWith("/") ? [name, beside] : [`${directory}/${name}`, beside];
    return this.#first(paths, async () => undefined);
  }

  readonly #wrongId = async (elf: ElfFile): Promise<string | undefined> => {
    const id = await elf.buildId();
    const same = this.#buildId === undefined || id === this.#buildId;
    return same ? undefined : `is of another build, id ${id ?? "(none)"}`;
  };

  async #unfit(elf: ElfFile): Promise<string | undefined> {
    return (await this.#wrongId(elf)) ?? ((await hasDebugInfo(elf)) ? undefined : "has no .debug_info");
  }

  /** The first of some paths that holds an ELF file without objection. */
  async #first(
    paths: readonly string[],
    objection: (elf: ElfFile) => Promise<string | undefined>,
  ): Promise<ElfFile | undefined> {
    for (const path of new Set(paths)) {
      try {
        const elf = await this.#open(path);
        const reason = elf === undefined ? "not there" : await objection(elf);
        if (elf !== undefined && reason === undefined) return elf;
        this.#tried.push(`${path}: ${reason ?? ""}`);
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        this.#tried.push(`${path}: ${error.message}`);
      }
    }
    return undefined;
  }

  async #open(path: string): Promise<ElfFile | undefined> {
    const source = await this.#access.open(path);
    return source === undefined ? undefined : ElfFile.open(source);
  }

  #nothing(): AbsentError {
    const path = this.#query.exe ?? this.#query.programPath ?? "the program";
    const base = path.replace(/ \(deleted\)$/, "").replace(/^.*\//, "");
    const id = this.#buildId;
    const wanted = id === undefined ? "" : ` (build id ${id})`;
    const hints = [
      ...this.#tried.map((text) => `looked at ${text}`),
      `the package with the debug symbols of ${base} brings it: in Debian the -dbgsym package of the one that owns ${path}, in Fedora 'debuginfo-install'`,
      ...(this.#access.fetch === undefined
        ? ["with DEBUGINFOD_URLS in the environment it is downloaded by its build id"]
        : []),
    ];
    return new AbsentError(
      ELF_RULES.debugFileNone,
      `no debug info of ${path}${wanted}`,
      {},
      { option: "debugFile", value: "FILE", effect: "names it where it is elsewhere" },
      hints,
    );
  }
}

/** Whether a file has `.debug_info` with contents. */
export async function hasDebugInfo(elf: ElfFile): Promise<boolean> {
  const plain = await elf.section(".debug_info");
  return plain !== undefined || (await elf.section(".zdebug_info")) !== undefined;
}

/** CRC-32 of a whole file, as `.gnu_debuglink` has it. */
async function fileCrc(source: ByteSource): Promise<number> {
  const buffer = new Uint8Array(1 << 20);
  let crc = 0;
  for (let at = 0; at < source.size; ) {
    const got = await source.read(at, buffer);
    if (got === 0) break;
    crc = crc32(buffer.subarray(0, got), crc);
    at += got;
  }
  return crc;
}
