import { GuestscopeError, SystemError } from "guestscope";
import type { Task } from "../jobs/task.js";
import { checkRedis, redisError } from "../queue/connection.js";
import { FleetQueue } from "../queue/fleet-queue.js";
import { EXIT, redisAddress } from "./command.js";
import type { SubmitArguments } from "./submit.js";
import { counted, print, printError, printJson, StatusLine } from "./terminal.js";

/** Jobs sent to Redis together. */
const BATCH = 500;
const FULL_LOOK_MS = 500;

/** Puts tasks into the queue, as fast as it has room for them. @returns the exit status. @throws SystemError */
export async function enqueue(
  tasks: AsyncIterable<Task>,
  args: SubmitArguments,
  unusable: () => number,
): Promise<number> {
  const address = redisAddress(args);
  for (const line of await checkRedis(address)) printError(`guestscope-fleet: warning: ${line}`);
  const queue = await FleetQueue.open(address, args.queue);
  const line = new StatusLine(!args.quiet);
  const sum = { found: 0, fresh: 0 };
  const batch: Task[] = [];
  const send = async (): Promise<void> => {
    while ((await queue.counts()).waiting >= args.max_waiting) {
      line.update(`${sum.found} sources; the queue is full, waiting`);
      await new Promise((resolve) => setTimeout(resolve, FULL_LOOK_MS));
    }
    sum.fresh += await queue.add(batch);
    sum.found += batch.length;
    batch.length = 0;
    line.update(`${sum.found} sources, ${sum.fresh} submitted`);
  };
  try {
    for await (const task of tasks) {
      batch.push(task);
      if (batch.length >= Math.min(BATCH, args.max_waiting)) await send();
    }
    if (batch.length > 0) await send();
  } catch (error) {
    if (error instanceof GuestscopeError) throw error;
    const { code, message, place } = redisError(error, address);
    throw new SystemError(
      code,
      `${message}; ${sum.fresh} were submitted, the same call submits the rest`,
      place,
    );
  } finally {
    line.clear();
    await queue.close();
  }
  const known = sum.found - sum.fresh;
  if (args.json)
    printJson({
      schemaVersion: 1,
      kind: "fleet-submission",
      queue: args.queue,
      sources: sum.found,
      submitted: sum.fresh,
      known,
      unusable: unusable(),
    });
  else if (!args.quiet)
    print(
      `${counted(sum.found, "source")}: ${sum.fresh} submitted${known === 0 ? "" : `, ${known} known already`}`,
    );
  return EXIT.good;
}
