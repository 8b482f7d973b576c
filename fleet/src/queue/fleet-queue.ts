import { type JobsOptions, Queue } from "bullmq";
import { SystemError, UsageError, VERSION } from "guestscope";
import { Redis } from "ioredis";
import type { Task } from "../jobs/task.js";
import { QUEUE_SCHEMA } from "../version.js";
import { type RedisAddress, redisError, redisOptions } from "./connection.js";
import { Counters } from "./counters.js";

export const PREFIX = "guestscope-fleet";
const NAME = /^[\w.-]{1,100}$/;
/** Ended jobs that Redis remembers; older ones are known by their results on disk. */
const REMEMBERED = 20_000;
/** Tries at a job whose failure may pass by itself. */
export const ATTEMPTS = 3;

/** Jobs of each kind. */
export interface JobCounts {
  readonly waiting: number;
  readonly active: number;
  readonly delayed: number;
}

const JOB_OPTIONS: JobsOptions = {
  attempts: ATTEMPTS,
  backoff: { type: "exponential", delay: 1000 },
  removeOnComplete: { count: REMEMBERED },
  removeOnFail: { count: REMEMBERED },
  // the result on disk tells why
  stackTraceLimit: 1,
};

/** The jobs of a fleet in Redis, and counters beside them. */
export class FleetQueue {
  readonly name: string;
  readonly address: RedisAddress;
  readonly counters: Counters;
  readonly #redis: Redis;
  readonly #queue: Queue;

  private constructor(address: RedisAddress, name: string) {
    this.name = name;
    this.address = address;
    const quiet = (): void => undefined;
    this.#redis = new Redis({ ...redisOptions(address), maxRetriesPerRequest: 20 });
    this.#redis.on("error", quiet);
    this.counters = new Counters(this.#redis, `${PREFIX}:${name}`);
    this.#queue = new Queue(name, {
      connection: { ...redisOptions(address), maxRetriesPerRequest: 20 },
      prefix: PREFIX,
      streams: { events: { maxLen: 100 } },
    });
    this.#queue.on("error", quiet);
  }

  /**
   * Opens the queue, which is made when it isn't there.
   * @throws SystemError when Redis fails; `fleet/queue-version` when the queue is of another version; UsageError
   */
  static async open(address: RedisAddress, name: string): Promise<FleetQueue> {
    if (!NAME.test(name))
      throw new UsageError(`queue '${name}': letters, digits, '.', '_' and '-' are expected`);
    const queue = new FleetQueue(address, name);
    try {
      const { schema, version } = await queue.counters.claim(QUEUE_SCHEMA, VERSION);
      if (schema === String(QUEUE_SCHEMA) && version === VERSION) return queue;
      throw new SystemError(
        "fleet/queue-version",
        `queue '${name}' belongs to guestscope ${version} (queue format ${schema}), this is ${VERSION} (${QUEUE_SCHEMA}): end it with that version, or name another queue`,
      );
    } catch (error) {
      await queue.close();
      throw error instanceof SystemError ? error : redisError(error, address);
    }
  }

  /** Adds tasks that the queue doesn't have; failed ones are put back when they ask for it. @returns how many were new */
  async add(tasks: readonly Task[]): Promise<number> {
    const unique = [...new Map(tasks.map((task) => [task.key, task])).values()];
    const known = this.#redis.pipeline();
    for (const { key } of unique) known.exists(`${PREFIX}:${this.name}:${key}`);
    const found = (await known.exec()) ?? [];
    const fresh: Task[] = [];
    for (const [i, task] of unique.entries()) {
      const isKnown = found[i]?.[1] === 1;
      if (isKnown && task.retry && !(await this.#forgetFailed(task.key))) continue;
      if (!isKnown || task.retry) fresh.push(task);
    }
    if (fresh.length === 0) return 0;
    await this.#queue.addBulk(
      fresh.map((task) => ({ name: task.action, data: task, opts: { ...JOB_OPTIONS, jobId: task.key } })),
    );
    await this.counters.submitted(fresh.length);
    return fresh.length;
  }

  async #forgetFailed(key: string): Promise<boolean> {
    if ((await this.#queue.getJobState(key)) !== "failed") return false;
    await this.#queue.remove(key);
    return true;
  }

  async counts(): Promise<JobCounts> {
    const counts = await this.#queue.getJobCounts("wait", "prioritized", "active", "delayed");
    const of = (name: string): number => counts[name] ?? 0;
    return {
      waiting: of("wait") + of("prioritized"),
      active: of("active"),
      delayed: of("delayed"),
    };
  }

  /** Workers that are connected; undefined where the server doesn't tell. */
  async workers(): Promise<number | undefined> {
    return this.#queue.getWorkersCount().catch(() => undefined);
  }

  async close(): Promise<void> {
    this.#redis.disconnect();
    await this.#queue.close().catch(() => undefined);
    await this.#queue.disconnect().catch(() => undefined);
  }
}
