import type { Task } from "../jobs/task.js";
import { runLocally } from "../local/engine.js";
import { Summary } from "../report/summary.js";
import { type CommonArguments, EXIT, type RunArguments } from "./command.js";
import { onStopSignal, prepareRunner } from "./run-setup.js";
import { counted, duration, print, printError, printJson, resultLine, size, StatusLine } from "./terminal.js";

/** Runs tasks on this machine. @returns the exit status: 1 when an input is bad, 2 when the system stood in the way */
export async function runHere(
  tasks: AsyncIterable<Task>,
  args: CommonArguments & RunArguments,
): Promise<number> {
  const runner = await prepareRunner(args);
  const began = performance.now();
  const seconds = (): number => (performance.now() - began) / 1000;
  const line = new StatusLine(!args.quiet);
  const summary = new Summary();
  const stop = new AbortController();
  let known = 0;
  onStopSignal(() => {
    printError("guestscope-fleet: no more jobs are begun; those under way are ended");
    stop.abort();
  });
  try {
    await runLocally(tasks, runner, {
      concurrency: args.concurrency,
      signal: stop.signal,
      onResult: (result, fresh) => {
        if (!fresh) known += 1;
        summary.add(result);
        if (result.status !== "good" && fresh && !args.json && !args.quiet) {
          line.clear();
          print(resultLine(result));
        }
        const done = summary.total - known;
        line.update(
          `${summary.total} inputs, ${(done / seconds()).toFixed(1)} a second, ${size(summary.bytes)}`,
        );
      },
    });
  } finally {
    line.clear();
    runner.close();
  }
  const { counts, total } = summary;
  if (args.json)
    printJson({
      schemaVersion: 1,
      kind: "fleet-run",
      reports: args.reports,
      inputs: total,
      ...counts,
      known,
      stopped: stop.signal.aborted,
      codes: Object.fromEntries(summary.codes),
    });
  else if (!args.quiet)
    print(
      `${counted(total, "input")}: ${counts.good} good, ${counts.bad} bad, ${counts.failed} failed` +
        `${known === 0 ? "" : ` (${known} known already)`}, ${duration(seconds())}; results are in ${args.reports}`,
    );
  if (summary.systemFailures > 0 || stop.signal.aborted) return EXIT.failure;
  return counts.bad + counts.failed > 0 ? EXIT.badInput : EXIT.good;
}
