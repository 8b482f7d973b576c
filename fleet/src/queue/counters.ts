import type { Redis } from "ioredis";
import { errorCodes, type Result } from "../jobs/outcome.js";

/** Results are counted in slots of so many seconds, for rates. */
const SLOT_SECONDS = 10;
/** Slots that a rate looks at: the last minute. */
const SLOTS = 6;
/** Codes that are counted apart; what follows is counted together. There are a few hundred rules. */
const CODES = 1000;
const OTHER_CODES = "other";

/** What has happened in a queue so far. */
export interface Totals {
  readonly submitted: number;
  readonly good: number;
  readonly bad: number;
  readonly failed: number;
  /** Bytes of inputs with a result. */
  readonly bytes: number;
  /** Inputs by code of error. */
  readonly codes: Readonly<Record<string, number>>;
  /** Inputs and bytes a second over the last minute. */
  readonly rate: { readonly inputs: number; readonly bytes: number };
}

/** Counters of a queue: a few hashes of limited size beside its jobs. The report on disk is what holds. */
export class Counters {
  readonly #redis: Redis;
  readonly #prefix: string;

  /** @param prefix of keys, the queue's */
  constructor(redis: Redis, prefix: string) {
    this.#redis = redis;
    this.#prefix = prefix;
  }

  #key(name: string): string {
    return `${this.#prefix}:fleet-${name}`;
  }

  /** Marks the queue with a version unless it has one. @returns the one it has */
  async claim(schema: number, version: string): Promise<{ schema: string; version: string }> {
    const key = this.#key("queue");
    await this.#redis.hsetnx(key, "version", JSON.stringify([String(schema), version]));
    const stored = JSON.parse((await this.#redis.hget(key, "version")) ?? "[]") as string[];
    return { schema: stored[0] ?? "unknown", version: stored[1] ?? "unknown" };
  }

  async submitted(count: number): Promise<void> {
    await this.#redis.hincrby(this.#key("totals"), "submitted", count);
  }

  /** Counts a result. */
  async ended(result: Result): Promise<void> {
    const slot = this.#key(`slot-${Math.floor(Date.now() / 1000 / SLOT_SECONDS)}`);
    const bytes = result.size ?? 0;
    const known = await this.#redis.hlen(this.#key("codes"));
    const batch = this.#redis.pipeline();
    batch.hincrby(this.#key("totals"), result.status, 1).hincrby(this.#key("totals"), "bytes", bytes);
    for (const code of errorCodes(result))
      batch.hincrby(this.#key("codes"), known < CODES ? code.slice(0, 100) : OTHER_CODES, 1);
    batch
      .hincrby(slot, "inputs", 1)
      .hincrby(slot, "bytes", bytes)
      .expire(slot, SLOT_SECONDS * (SLOTS + 2));
    await batch.exec();
  }

  async totals(): Promise<Totals> {
    const now = Date.now() / 1000;
    const current = Math.floor(now / SLOT_SECONDS);
    const totals = await this.#redis.hgetall(this.#key("totals"));
    const codes = await this.#redis.hgetall(this.#key("codes"));
    let [inputs, bytes, since] = [0, 0, now];
    for (let back = 0; back < SLOTS; back += 1) {
      const slot = await this.#redis.hgetall(this.#key(`slot-${current - back}`));
      if (slot.inputs === undefined) continue;
      inputs += Number(slot.inputs);
      bytes += Number(slot.bytes);
      since = (current - back) * SLOT_SECONDS;
    }
    const seconds = Math.max(1, now - since);
    const of = (name: string): number => Number(totals[name] ?? 0);
    return {
      submitted: of("submitted"),
      good: of("good"),
      bad: of("bad"),
      failed: of("failed"),
      bytes: of("bytes"),
      codes: Object.fromEntries(Object.entries(codes).map(([code, count]) => [code, Number(count)])),
      rate: { inputs: inputs / seconds, bytes: bytes / seconds },
    };
  }
}
