import { createHash } from "node:crypto";
import { UsageError } from "guestscope";

/** One of several parts of the same selection, on machines that don't know of each other. */
export interface Shard {
  /** From 0. */
  readonly index: number;
  readonly count: number;
}

/** `2/8`, or `/8` with the index in JOB_COMPLETION_INDEX, as an indexed job of Kubernetes sets it. @throws UsageError */
export function parseShard(text: string, environment: NodeJS.ProcessEnv): Shard {
  const match = /^(\d*)\/(\d+)$/.exec(text);
  const index = match?.[1] === "" ? environment.JOB_COMPLETION_INDEX : match?.[1];
  const shard = { index: Number(index ?? Number.NaN), count: Number(match?.[2]) };
  if (Number.isSafeInteger(shard.index) && shard.index >= 0 && shard.index < shard.count) return shard;
  throw new UsageError(
    `shard ${text}: I/N is expected, I from 0 to N - 1, or /N with I in the variable JOB_COMPLETION_INDEX`,
  );
}

/** Whether a name belongs to the shard; every name belongs to one. */
export function inShard({ index, count }: Shard, name: string): boolean {
  return createHash("sha256").update(name).digest().readUInt32BE(0) % count === index;
}
