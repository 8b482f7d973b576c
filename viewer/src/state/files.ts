import { type Signal, signal } from "@preact/signals";
import type {
  FileParts,
  Findings,
  Identity,
  MemoryTable,
  Overview,
  Problem,
  Processor,
} from "../../../src/open/session/protocol.js";
import type {
  LinuxSummary,
  LogLines,
  ModuleRow,
  MountRow,
  NetworkRows,
  TaskRows,
} from "../../../src/open/session/linux-protocol.js";
import { PageSamples } from "../map/samples.js";
import { asProblem, type CallOptions, type Client } from "../session/client.js";
import { HttpClient } from "../session/http-client.js";
import { WorkerClient, type WorkerInput } from "../session/worker-client.js";

/** Something that is asked for once and kept. */
export type Load<T> =
  | { readonly state: "idle" }
  | { readonly state: "loading"; readonly done?: number; readonly total?: number | undefined }
  | { readonly state: "ready"; readonly value: T }
  | { readonly state: "failed"; readonly problem: Problem };

/** What is known of a file, by the method that tells it. */
export interface Known {
  open: Identity;
  overview: Overview;
  memory: MemoryTable;
  processors: readonly Processor[];
  parts: FileParts;
  verify: Findings;
  document: string;
  linuxSummary: LinuxSummary;
  linuxLog: LogLines;
  linuxTasks: TaskRows;
  linuxModules: readonly ModuleRow[];
  linuxMounts: readonly MountRow[];
  linuxNetwork: NetworkRows;
}

/** An open file: one tab. */
export interface OpenFile {
  readonly id: number;
  readonly name: string;
  readonly client: Client;
  readonly known: { readonly [K in keyof Known]: Signal<Load<Known[K]>> };
  /** How often it was opened anew. */
  readonly edition: number;
  /** The same input with nothing known of it. */
  readonly anew: () => OpenFile;
  /** Why what is known of the file is no longer true: it changed or went away. */
  readonly changed: Signal<Problem | undefined>;
  /** Times that the worker died; the last reason. */
  readonly deaths: Signal<{ readonly count: number; readonly message: string } | undefined>;
  /** What pages hold, as far as it was looked at; made with the memory's table. */
  samples: PageSamples | undefined;
  /** All of memory is being searched for a kernel. */
  readonly searching: Signal<boolean>;
  /** Guest-physical addresses where a search found something, ascending. */
  readonly hits: Signal<Float64Array>;
}

export const files: Signal<readonly OpenFile[]> = signal<readonly OpenFile[]>([]);
let nextId = 1;

const idle = (): Signal<Load<never>> => signal<Load<never>>({ state: "idle" });

/** Errors of a file that is not the one that was opened. */
const CHANGED = /^(http\/(changed|404|410|412)|blob\/Not(Found|Readable)Error)$/;

type MakeClient = (onDeath: (message: string) => void) => Client;

/** A client that notes when an answer is that the file changed. */
function watched(client: Client, changed: Signal<Problem | undefined>): Client {
  return {
    async call(method, argument, options?: CallOptions) {
      try {
        return await client.call(method, argument, options);
      } catch (error) {
        const problem = asProblem(error);
        if (method !== "open" && CHANGED.test(problem.code)) changed.value = problem;
        throw error;
      }
    },
    close: () => client.close(),
  };
}

function add(name: string, makeClient: MakeClient): OpenFile {
  const file = makeFile(nextId, name, makeClient);
  nextId += 1;
  files.value = [...files.value, file];
  void begin(file);
  return file;
}

function makeFile(id: number, name: string, makeClient: MakeClient, edition = 0): OpenFile {
  const deaths: OpenFile["deaths"] = signal<{ count: number; message: string } | undefined>(undefined);
  const changed: OpenFile["changed"] = signal<Problem | undefined>(undefined);
  const client = makeClient((message) => {
    deaths.value = { count: (deaths.peek()?.count ?? 0) + 1, message };
  });
  return {
    id,
    name,
    client: watched(client, changed),
    edition,
    anew: () => makeFile(id, name, makeClient, edition + 1),
    changed,
    known: {
      open: idle(),
      overview: idle(),
      memory: idle(),
      processors: idle(),
      parts: idle(),
      verify: idle(),
      document: idle(),
      linuxSummary: idle(),
      linuxLog: idle(),
      linuxTasks: idle(),
      linuxModules: idle(),
      linuxMounts: idle(),
      linuxNetwork: idle(),
    },
    deaths,
    samples: undefined,
    searching: signal(false),
    hits: signal(new Float64Array(0)),
  };
}

/** Bytes of memory that are searched for a kernel without being asked: some seconds. */
export const SEARCHED_UNASKED = 2 ** 31;

/** The order in which a file's first screen fills: what it is, what is in it, whether it is sound, what it ran. */
async function begin(file: OpenFile): Promise<void> {
  await load(file, "open");
  if (file.known.open.value.state !== "ready") return;
  const { overview } = file.known;
  overview.value = { state: "loading" };
  try {
    const onProgress = (done: number, total: number | undefined): void => {
      if (overview.peek().state === "loading") overview.value = { state: "loading", done, total };
    };
    const first = await file.client.call("glance", { of: "guest" }, { onProgress });
    overview.value = { state: "ready", value: first };
    await load(file, "memory");
    await load(file, "verify");
    const second = await file.client.call("glance", { of: "file" });
    overview.value = { state: "ready", value: second };
    if (second.software.length > 0 || (first.memory?.present ?? 0) <= SEARCHED_UNASKED)
      await findKernel(file);
  } catch (error) {
    if (overview.peek().state !== "ready") overview.value = { state: "failed", problem: asProblem(error) };
  }
}

/** The whole overview, with a kernel that takes a search of all memory to find. */
export async function findKernel(file: OpenFile): Promise<void> {
  if (file.searching.peek()) return;
  file.searching.value = true;
  try {
    const value = await file.client.call("overview", undefined);
    file.known.overview.value = { state: "ready", value };
  } finally {
    file.searching.value = false;
  }
}

/** Asks for something unless it is known or on its way. */
export async function load(file: OpenFile, what: keyof Known): Promise<void> {
  const known: Readonly<Record<keyof Known, Signal<Load<unknown>>>> = file.known;
  const target = known[what];
  const { state } = target.peek();
  if (state === "loading" || state === "ready") return;
  target.value = { state: "loading" };
  try {
    const value: unknown = await file.client.call(what, undefined, {
      onProgress(done, total) {
        if (target.peek().state === "loading") target.value = { state: "loading", done, total };
      },
    });
    target.value = { state: "ready", value };
  } catch (error) {
    target.value = { state: "failed", problem: asProblem(error) };
  }
}

/** Asks again for all that failed; for everything, of a file that is no longer the same. */
export function retry(file: OpenFile): void {
  if (file.changed.peek() !== undefined) {
    file.client.close();
    const fresh = file.anew();
    files.value = files.value.map((one) => (one === file ? fresh : one));
    void begin(fresh);
    return;
  }
  file.deaths.value = undefined;
  for (const target of Object.values(file.known)) {
    if (target.peek().state === "failed") target.value = { state: "idle" };
  }
  void begin(file);
}

export const openWorker = (input: WorkerInput): OpenFile =>
  add(input.name, (onDeath) => new WorkerClient(input, onDeath));

export const openServer = (url: string, name: string): OpenFile => add(name, () => new HttpClient(url));

export function closeFile(file: OpenFile): void {
  file.client.close();
  files.value = files.value.filter((one) => one !== file);
}

/** What is known of the contents of pages, one for all views of a file. */
export function samplesOf(file: OpenFile, table: MemoryTable): PageSamples {
  return (file.samples ??= new PageSamples(file.client, table));
}
