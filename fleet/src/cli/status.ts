import type { ArgumentParser, Namespace } from "argparse";
import { checkRedis } from "../queue/connection.js";
import { type Totals } from "../queue/counters.js";
import { FleetQueue, type JobCounts } from "../queue/fleet-queue.js";
import {
  addQueueOptions,
  type Command,
  type CommonArguments,
  EXIT,
  type QueueArguments,
  redisAddress,
} from "./command.js";
import { bar, counted, duration, print, printJson, size } from "./terminal.js";

interface Arguments extends CommonArguments, QueueArguments {
  readonly follow: boolean;
}

const FOLLOW_MS = 1000;
/** Codes of errors that are listed. */
const CODES = 20;

/** `guestscope-fleet status`. */
export const command: Command = {
  name: "status",
  summary: "show how far a queue is: progress, rates, time left, inputs by finding",
  examples: [
    "guestscope-fleet status --redis redis://queue",
    "guestscope-fleet status --follow",
    "guestscope-fleet status --json",
  ],
  configure(parser: ArgumentParser): void {
    parser.add_argument("-f", "--follow", {
      action: "store_true",
      help: "show it each second until the queue is empty",
    });
    addQueueOptions(parser);
  },
  async run(namespace: Namespace): Promise<number> {
    const args = namespace as Arguments;
    const address = redisAddress(args);
    await checkRedis(address);
    const queue = await FleetQueue.open(address, args.queue);
    try {
      for (;;) {
        const [jobs, totals, workers] = await Promise.all([
          queue.counts(),
          queue.counters.totals(),
          queue.workers(),
        ]);
        const left = jobs.waiting + jobs.active + jobs.delayed;
        if (args.json) printJson(documentOf(args.queue, jobs, totals, workers));
        else if (!args.quiet) for (const line of lines(jobs, totals, workers)) print(line);
        if (!args.follow || left === 0) return EXIT.good;
        await new Promise((resolve) => setTimeout(resolve, FOLLOW_MS));
        if (!args.json && !args.quiet) print();
      }
    } finally {
      await queue.close();
    }
  },
};

/** Counters miss what a worker ended when it was killed: what is left is what the queue holds. */
function progress(
  jobs: JobCounts,
  totals: Totals,
): { left: number; all: number; done: number; eta: number | undefined } {
  const left = jobs.waiting + jobs.active + jobs.delayed;
  const all = Math.max(totals.submitted, left);
  const eta = left === 0 ? 0 : totals.rate.inputs > 0 ? left / totals.rate.inputs : undefined;
  return { left, all, done: all - left, eta };
}

function documentOf(queue: string, jobs: JobCounts, totals: Totals, workers: number | undefined): object {
  const { left, all, done, eta } = progress(jobs, totals);
  return {
    schemaVersion: 1,
    kind: "fleet-status",
    queue,
    submitted: all,
    done,
    left,
    ...jobs,
    workers: workers ?? null,
    good: totals.good,
    bad: totals.bad,
    failed: totals.failed,
    bytes: totals.bytes,
    inputsPerSecond: totals.rate.inputs,
    bytesPerSecond: totals.rate.bytes,
    secondsLeft: eta ?? null,
    codes: totals.codes,
  };
}

function lines(jobs: JobCounts, totals: Totals, workers: number | undefined): string[] {
  const { all, done, left, eta } = progress(jobs, totals);
  const codes = Object.entries(totals.codes).sort(([, m], [, n]) => n - m);
  const width = Math.max(0, ...codes.slice(0, CODES).map(([, count]) => String(count).length));
  const rate = `${totals.rate.inputs.toFixed(1)} inputs/s, ${size(totals.rate.bytes)}/s`;
  return [
    `${bar(all === 0 ? 1 : done / all)} ${done} of ${counted(all, "input")}${left === 0 || eta === undefined ? "" : `, ${duration(eta)} left`}`,
    `${jobs.active} running, ${jobs.waiting} waiting, ${jobs.delayed} to be tried again; ${workers === undefined ? "" : `${counted(workers, "worker")}, `}${rate}`,
    `${totals.good} good, ${totals.bad} bad, ${totals.failed} failed`,
    ...codes.slice(0, CODES).map(([code, count]) => `  ${String(count).padStart(width)}  ${code}`),
    ...(codes.length > CODES ? [`  and ${codes.length - CODES} more codes; --json lists them all`] : []),
  ];
}
