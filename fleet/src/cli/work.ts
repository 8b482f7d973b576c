import * as os from "node:os";
import type { ArgumentParser, Namespace } from "argparse";
import { UsageError } from "guestscope";
import { checkRedis } from "../queue/connection.js";
import { FleetQueue } from "../queue/fleet-queue.js";
import { QueueWorker } from "../queue/queue-worker.js";
import { Summary } from "../report/summary.js";
import {
  addQueueOptions,
  addRunOptions,
  type Command,
  type CommonArguments,
  EXIT,
  type QueueArguments,
  redisAddress,
  type RunArguments,
} from "./command.js";
import { onStopSignal, prepareRunner } from "./run-setup.js";
import { counted, print, printError, printJson, resultLine } from "./terminal.js";

interface Arguments extends CommonArguments, QueueArguments, RunArguments {
  readonly drain: boolean;
  readonly lost_after: number;
}

/** `guestscope-fleet work`. */
export const command: Command = {
  name: "work",
  summary: "run jobs of the queue, on any number of hosts",
  examples: [
    "guestscope-fleet work --redis rediss://queue:6380 --redis-password-file /run/secrets/redis --reports /mnt/reports",
    "guestscope-fleet work --drain --concurrency 4 --memory 4096 --time 600",
  ],
  configure(parser: ArgumentParser): void {
    parser.add_argument("--drain", { action: "store_true", help: "end when the queue is empty" });
    parser.add_argument("--lost-after", {
      type: "int",
      metavar: "SECONDS",
      default: 30,
      help: "jobs of a worker that shows no sign of life for so long go to another one (default 30; the same everywhere)",
    });
    addQueueOptions(parser);
    addRunOptions(parser);
  },
  async run(namespace: Namespace): Promise<number> {
    const args = namespace as Arguments;
    if (args.lost_after < 1) throw new UsageError("--lost-after: a number of seconds from 1 on is expected");
    const runner = await prepareRunner(args);
    const address = redisAddress(args);
    for (const line of await checkRedis(address)) printError(`guestscope-fleet: warning: ${line}`);
    const queue = await FleetQueue.open(address, args.queue);
    const summary = new Summary();
    const worker = new QueueWorker(queue, runner, {
      concurrency: args.concurrency,
      lost: args.lost_after,
      drain: args.drain,
      onResult: (result, fresh) => {
        if (!fresh) return;
        summary.add(result);
        if (!args.quiet && !args.json && result.status !== "good") print(resultLine(result));
      },
      onTrouble: (message) => printError(`guestscope-fleet: queue: ${message}`),
    });
    onStopSignal(() => {
      printError("guestscope-fleet: no more jobs are taken; those under way are ended");
      worker.stop();
    });
    try {
      await worker.run();
    } finally {
      runner.close();
      await queue.close();
    }
    const { counts, total } = summary;
    if (args.json)
      printJson({ schemaVersion: 1, kind: "fleet-work", host: os.hostname(), inputs: total, ...counts });
    else if (!args.quiet)
      print(`${counted(total, "input")}: ${counts.good} good, ${counts.bad} bad, ${counts.failed} failed`);
    return EXIT.good;
  },
};
