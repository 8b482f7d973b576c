import { createHash } from "node:crypto";
import * as path from "node:path";
import { UsageError } from "guestscope";
import { nameOf, type Source } from "../sources/source.js";

/** What can be done with a source: the commands of `guestscope` that work on one input. */
export const ACTIONS = ["verify", "extract", "convert", "ps"] as const;
export type Action = (typeof ACTIONS)[number];

/** What is done with every source of a submission. */
export interface Order {
  readonly action: Action;
  /** Options handed on to `guestscope ACTION`. */
  readonly options: readonly string[];
  /** Where outputs go (extract, convert): an absolute path, the same on every host. */
  readonly output?: { readonly directory: string; readonly extension: string };
}

/** One job: an order for one source. It is stored in the queue as JSON. */
export interface Task extends Order {
  /** Identity of the job: the same order for the same state of a source by the same version is the same job. */
  readonly key: string;
  readonly source: Source;
  /** Version of guestscope that the order was given for. */
  readonly version: string;
  /** A failed result of an earlier run is no reason to skip this one. */
  readonly retry: boolean;
}

/** The task of an order for a source. @param version guestscope's */
export function taskOf(order: Order, source: Source, version: string, retry: boolean): Task {
  return { ...order, source, version, retry, key: keyOf(order, source, version) };
}

/** 32 hexadecimal digits over what tells one job from another. A signature in a URL doesn't. */
function keyOf(order: Order, source: Source, version: string): string {
  const { action, options, output } = order;
  const identity =
    source.kind === "file"
      ? [source.size, source.mtime]
      : [source.size ?? null, source.etag ?? source.modified ?? null];
  const parts = [action, options, output ?? null, nameOf(source), identity, version];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
}

/** Where the output of a task goes; undefined when its action has none. */
export function outputPath(task: Task): string | undefined {
  if (task.output === undefined) return undefined;
  const name = path.basename(nameOf(task.source)).replace(/[^\w.+@=,-]/g, "_");
  const { directory, extension } = task.output;
  // sources of one name lie in several directories: a part of the key keeps them apart
  return path.join(directory, `${name.slice(0, 150)}-${task.key.slice(0, 12)}${extension}`);
}

/**
 * A task as it comes out of the queue.
 * @throws UsageError when it is none of this version
 */
export function parseTask(data: unknown): Task {
  const task = data as Partial<Task> | null;
  const { source, output } = task ?? {};
  const isTask =
    typeof task === "object" &&
    typeof task?.key === "string" &&
    /^[0-9a-f]{32}$/.test(task.key) &&
    ACTIONS.some((action) => action === task.action) &&
    Array.isArray(task.options) &&
    task.options.every((option) => typeof option === "string") &&
    typeof task.version === "string" &&
    typeof source === "object" &&
    ((source.kind === "file" && typeof source.path === "string") ||
      (source.kind === "url" && typeof source.url === "string")) &&
    (output === undefined || (typeof output.directory === "string" && typeof output.extension === "string"));
  if (!isTask)
    throw new UsageError("the queue holds a job that is not of guestscope-fleet, or of another version");
  return task as Task;
}
