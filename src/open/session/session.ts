// over 350 lines: one answer for each method of the protocol
import { hexText } from "../../binary/text.js";
import { withVmcoreInfo } from "../../guest/kernel/brought-vmcoreinfo.js";
import type { GuestImage } from "../../guest/image.js";
import type { GuestInspection } from "../../guest/inspection.js";
import type { OpenOptions } from "../../guest/options.js";
import { memoryTotals } from "../../guest/memory.js";
import { softwareOf } from "../../guest/kernel/software.js";
import { describeRecord } from "../../findings/finding.js";
import { GuestscopeError, SystemError, UsageError } from "../../findings/errors.js";
import { allRules } from "../catalogue.js";
import type { Fact } from "./fact.js";
import type { SessionInput } from "./input.js";
import { softwareFacts, viewInspection } from "./inspection.js";
import type { LinuxSession } from "./linux.js";
import { memoryTable } from "./memory-table.js";
import { hashPages, samplePages } from "./pages.js";
import { fileParts } from "./parts.js";
import { problemOf } from "./problem.js";
import { describeProcessors, processorSummary } from "./processors.js";
import type { FileParts, Findings, MemoryTable, Method, Methods, Overview, Problem } from "./protocol.js";
import { searchMemory } from "./search.js";
import { isProcess, readSpace } from "./spaces.js";
import { fieldsAt } from "./structures.js";

/** What a call may send before its result. */
export interface CallContext {
  progress(done: number, total: number | undefined, phase: string): void;
  /** Hands over bytes of an output; resolves when more may come. */
  piece(bytes: Uint8Array): Promise<void>;
}

type Handlers = {
  readonly [M in Method]: (
    argument: Methods[M]["argument"],
    context: CallContext,
  ) => Promise<Methods[M]["result"]>;
};

/** Formats that don't say what vCPU their memory is of: the kernel in it does. */
const UNLABELLED: ReadonlyMap<string, string> = new Map([
  ["lime", "a LiME dump"],
  ["avml", "an AVML dump"],
  ["raw", "a raw image"],
]);

/** A guest, or why there is none. */
interface OpenedGuest {
  readonly guest?: GuestImage;
  readonly table?: MemoryTable;
  readonly problems: readonly Problem[];
  /** The input could not be read, whatever it holds. */
  readonly isUnread: boolean;
}

/** One input that is looked at: opens the guest when it is first needed and answers the protocol's calls. */
export class Session {
  readonly #load: () => Promise<SessionInput>;
  #input: Promise<SessionInput> | undefined;
  #guest: Promise<OpenedGuest> | undefined;
  /** The guest with its kernel's VMCOREINFO: as its vCPUs point at it, and after a search of all memory. */
  readonly #kernels = new Map<boolean, Promise<GuestImage>>();
  readonly #inspections = new Map<boolean, Promise<GuestInspection>>();
  #parts: Promise<FileParts> | undefined;
  #linux: Promise<LinuxSession> | undefined;

  constructor(load: () => Promise<SessionInput>) {
    this.#load = load;
  }

  /** Answers one call. @throws what the method throws, GuestscopeError for bad input */
  async call<M extends Method>(
    method: M,
    argument: Methods[M]["argument"],
    context: CallContext,
  ): Promise<Methods[M]["result"]> {
    const handler = Object.hasOwn(this.#handlers, method) ? this.#handlers[method] : undefined;
    if (handler === undefined) throw new UsageError(`no method '${method}'`);
    return handler(argument, context);
  }

  readonly #handlers: Handlers = {
    open: async () => (await this.#opened()).identity,
    glance: ({ of }, context) => this.#overview(context, of),
    overview: (_, context) => this.#overview(context, "memory"),
    memory: async (_, context) => (await this.#memory(context)).table,
    pageKinds: async ({ by }, context) => {
      const { source, identity } = await this.#opened();
      const { guest } = await this.#memory(context);
      const { pageKinds } = await import("./page-kinds.js");
      const progress = (done: number, total: number): void => context.progress(done, total, "pages");
      return pageKinds(guest, identity.format, source, by, progress);
    },
    processors: async (_, context) => describeProcessors((await this.#memory(context)).guest),
    read: async ({ space, address, length }, context) => {
      const { source } = await this.#opened();
      if (space === "file")
        return readSpace({ source, guest: undefined, table: undefined }, space, address, length);
      const { guest, table } = await this.#guestOf(context);
      const isLinux = space === "kernel" || isProcess(space);
      const linux = isLinux ? await (await this.#linuxOf(context)).space(space) : undefined;
      return readSpace({ source, guest, table, linux }, space, address, length);
    },
    sample: async ({ addresses }, context) => samplePages((await this.#memory(context)).guest, addresses),
    hashPages: async ({ start, pages }, context) => {
      const { guest, table } = await this.#memory(context);
      return hashPages(guest, table, start, pages);
    },
    search: async (request, context) => searchMemory((await this.#memory(context)).guest, request),
    parts: () => (this.#parts ??= this.#listParts()),
    fields: async ({ start, end, structures }) => {
      const { source } = await this.#opened();
      if (source === undefined) return [];
      const { order } = await (this.#parts ??= this.#listParts());
      return fieldsAt(source, start, end, structures, order);
    },
    verify: (_, context) => this.#verify(context),
    document: async (_, context) => printDocument(await this.#inspect(context, true)),
    linuxSummary: async (_, context) => (await this.#linuxOf(context)).summary(),
    linuxLog: async (_, context) => (await this.#linuxOf(context)).log(),
    linuxTasks: async (_, context) => (await this.#linuxOf(context)).tasks(),
    linuxModules: async (_, context) => (await this.#linuxOf(context)).modules(),
    linuxMounts: async (_, context) => (await this.#linuxOf(context)).mounts(),
    linuxNetwork: async (_, context) => (await this.#linuxOf(context)).network(),
    linuxMappings: async ({ task }, context) => (await this.#linuxOf(context)).mappings(task),
    linuxStructure: async ({ name, at }, context) => (await this.#linuxOf(context)).structure(name, at),
    linuxSymbols: async ({ addresses }, context) => (await this.#linuxOf(context)).symbols(addresses),
    linuxAddress: async ({ name }, context) => (await this.#linuxOf(context)).address(name),
    linuxStack: async ({ task }, context) => (await this.#linuxOf(context)).stack(task),
    extract: async ({ to }, context) => this.#extract(to, context),
    close: async () => {
      const input = await this.#input?.catch(() => undefined);
      const opened = await this.#guest?.catch(() => undefined);
      await opened?.guest?.close?.();
      input?.close();
      return undefined;
    },
  };

  #opened(): Promise<SessionInput> {
    this.#input ??= forgotten(this.#load(), () => {
      this.#input = undefined;
    });
    return this.#input;
  }

  /** The guest whole; where that fails, what is intact of it. */
  #guestOf(context: CallContext): Promise<OpenedGuest> {
    const forget = (): void => {
      this.#guest = undefined;
    };
    this.#guest ??= forgotten(
      this.#open(context).then((opened) => {
        // a file that could not be read may be there again
        if (opened.isUnread) forget();
        return opened;
      }),
      forget,
    );
    return this.#guest;
  }

  async #open(context: CallContext): Promise<OpenedGuest> {
    const input = await this.#opened();
    const problems: Problem[] = [];
    let isUnread = false;
    const progress: NonNullable<OpenOptions["progress"]> = (done, total, phase) =>
      context.progress(done, total, phase);
    for (const partial of [false, true]) {
      try {
        const guest = await input.openGuest({ partial, progress, findKernel: false });
        return { guest, table: memoryTable(guest.memory), problems, isUnread };
      } catch (error) {
        if (!(error instanceof GuestscopeError)) throw error;
        isUnread ||= error instanceof SystemError;
        const problem = problemOf(error);
        if (!problems.some(({ message }) => message === problem.message)) problems.push(problem);
      }
    }
    return { problems, isUnread };
  }

  async #memory(context: CallContext): Promise<{ guest: GuestImage; table: MemoryTable }> {
    const { guest, table, problems } = await this.#guestOf(context);
    if (guest !== undefined && table !== undefined) return { guest, table };
    throw new UsageError(problems[0]?.message ?? "no guest could be opened");
  }

  /** Loaded when it is first asked for: most files are looked at without. */
  #linuxOf(context: CallContext): Promise<LinuxSession> {
    this.#linux ??= forgotten(
      Promise.all([import("./linux.js"), this.#withKernel(context, true)]).then(
        ([linux, guest]) => new linux.LinuxSession(guest),
      ),
      () => {
        this.#linux = undefined;
      },
    );
    return this.#linux;
  }

  /** The guest with its kernel found; `thorough`: all of the memory is read where nothing points at one. */
  async #withKernel(context: CallContext, thorough: boolean): Promise<GuestImage> {
    const { guest } = await this.#memory(context);
    let found = this.#kernels.get(thorough);
    if (found === undefined) {
      found = forgotten(this.#findKernel(guest, thorough), () => this.#kernels.delete(thorough));
      this.#kernels.set(thorough, found);
    }
    return found;
  }

  async #findKernel(guest: GuestImage, thorough: boolean): Promise<GuestImage> {
    const { identity } = await this.#opened();
    const what = thorough ? UNLABELLED.get(identity.format) : undefined;
    if (what === undefined) return withVmcoreInfo(guest, thorough);
    // its kernel says which architecture it is of
    const { unlabelledGuest } = await import("../../vmcore/unlabelled.js");
    return unlabelledGuest(guest, what);
  }

  /** @param thorough search all memory for a kernel, as `inspect` does */
  #inspect(context: CallContext, thorough: boolean): Promise<GuestInspection> {
    let inspection = this.#inspections.get(thorough);
    if (inspection === undefined) {
      const progress: NonNullable<OpenOptions["progress"]> = (done, total, phase) =>
        context.progress(done, total, phase);
      inspection = forgotten(
        this.#opened().then((input) => input.inspect({ progress, findKernel: thorough })),
        () => this.#inspections.delete(thorough),
      );
      this.#inspections.set(thorough, inspection);
    }
    return inspection;
  }

  async #listParts(): Promise<FileParts> {
    const { source, identity } = await this.#opened();
    if (source === undefined) return { parts: [], leftOut: 0, order: "little" };
    const quiet: CallContext = { progress: () => undefined, piece: async () => undefined };
    const inspection = await this.#inspect(quiet, false).catch(() => undefined);
    return fileParts(source, identity.format, inspection);
  }

  async #overview(context: CallContext, of: "guest" | "file" | "memory"): Promise<Overview> {
    const { identity } = await this.#opened();
    const { guest: indexed, problems } = await this.#guestOf(context);
    const all = [...problems];
    const searched = of === "memory";
    let guest = indexed;
    let view: ReturnType<typeof viewInspection> | undefined;
    let software: readonly Fact[] = [];
    try {
      if (indexed !== undefined && of !== "guest") {
        guest = await this.#withKernel(context, searched);
        software = softwareFacts(await softwareOf(guest, { findKernel: searched }));
      }
    } catch (error) {
      // a damaged page; verify says more
      if (!(error instanceof GuestscopeError)) throw error;
    }
    try {
      // without a guest the inspection is all there is
      if (of !== "guest" || indexed === undefined)
        view = viewInspection(await this.#inspect(context, searched), identity.size ?? 0);
    } catch (error) {
      if (!(error instanceof GuestscopeError)) throw error;
      const problem = problemOf(error);
      if (!all.some(({ message }) => message === problem.message)) all.push(problem);
    }
    if (view !== undefined && view.software.length > 0) software = view.software;
    const name = guest?.facts.name ?? view?.name;
    const known = [...guestFacts(guest), ...(view?.facts ?? [])];
    const messages = new Set(all.map(({ message }) => message));
    return {
      identity,
      ...(name === undefined ? {} : { name }),
      facts: known.filter(({ key }, i) => known.findIndex((one) => one.key === key) === i),
      layers: view?.layers ?? [],
      ...(guest === undefined ? {} : { memory: memoryTotals(guest.memory) }),
      processors: (guest?.vcpus ?? []).slice(0, 64).map(processorSummary),
      software,
      searched,
      problems: [...all, ...(view?.damage ?? []).filter(({ message }) => !messages.has(message))],
      warnings: [...new Set([...(guest?.warnings ?? []), ...(view?.warnings ?? [])])],
    };
  }

  async #verify(context: CallContext): Promise<Findings> {
    const input = await this.#opened();
    const none = { valid: true, verdict: "", errors: 0, warnings: 0, notes: 0, findings: [], omitted: [] };
    if (input.verify === undefined) return { ...none, unsupported: input.identity.title };
    try {
      const { report } = await input.verify((done, total) => context.progress(done, total, "verify"));
      const explanations = new Map((await allRules()).map((rule) => [rule.code, rule.explanation]));
      return {
        valid: report.valid,
        verdict: report.verdict,
        errors: report.count("error"),
        warnings: report.count("warning"),
        notes: report.count("note"),
        findings: report.findings.map(({ record, ...finding }) => {
          const explanation = explanations.get(finding.code);
          return {
            ...finding,
            ...(record === undefined ? {} : { record: describeRecord(record) }),
            ...(explanation === undefined || explanation === "" ? {} : { explanation }),
          };
        }),
        omitted: [...report.omitted],
      };
    } catch (error) {
      if (error instanceof UsageError) return { ...none, unsupported: error.message };
      throw error;
    }
  }

  async #extract(to: "elf" | "raw", context: CallContext): Promise<Methods["extract"]["result"]> {
    const guest = await this.#withKernel(context, true);
    const writer =
      to === "elf"
        ? (await import("../../vmcore/elf/write.js")).elfWriter
        : (await import("../../vmcore/raw/write.js")).rawWriter;
    const { identity } = await this.#opened();
    const sink = { name: identity.name, write: (bytes: Uint8Array) => context.piece(bytes.slice()) };
    const { present, zero, absent, size } = await writer.write(guest, sink, {
      progress: (done, total) => context.progress(done, total, "extract"),
    });
    return { present, zero, absent, size };
  }
}

/** The same promise; what is kept of it is forgotten when it fails, so that the next call tries again. */
function forgotten<T>(promise: Promise<T>, forget: () => void): Promise<T> {
  promise.catch(forget);
  return promise;
}

function guestFacts(guest: GuestImage | undefined): Fact[] {
  if (guest === undefined) return [];
  const { origin, hypervisor, guestType, uuid, pageSize } = guest.facts;
  const facts: readonly (readonly [key: string, value: string | undefined])[] = [
    ["origin", origin],
    ["savedBy", hypervisor],
    ["guestType", guestType],
    ["arch", guest.arch.name],
    ["uuid", uuid],
    ["pageSize", pageSize === undefined ? undefined : `${pageSize} bytes`],
  ];
  return facts.flatMap(([key, value]) => (value === undefined ? [] : [{ key, value }]));
}

/** A document as text: bigints as hexadecimal strings, bytes as hexadecimal text. */
function printDocument(document: object): string {
  return JSON.stringify(
    document,
    (_key, value: unknown) => {
      if (typeof value === "bigint") return `0x${value.toString(16)}`;
      if (value instanceof Uint8Array) return hexText(value);
      if (value instanceof Map) return Object.fromEntries(value as Map<string, unknown>);
      return value;
    },
    2,
  );
}
