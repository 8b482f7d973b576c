import type { Namespace } from "argparse";
import { openOutput } from "../io/node/output.js";
import { reportOf } from "../open/report/gather.js";
import { Session } from "../open/session/session.js";
import { type CommonArguments, EXIT } from "./command.js";
import { openSession } from "./guest-input.js";
import { Progress } from "./progress.js";

interface Arguments extends CommonArguments {
  readonly input: string;
  readonly force: boolean;
}

/** Writes `inspect --html`: one page that needs no script and no other file. */
export async function writeHtmlReport(out: string, args: Namespace): Promise<number> {
  const { input, force, quiet } = args as Arguments;
  const sink = openOutput(out, { force });
  const progress = new Progress(!quiet);
  const session = new Session(() => openSession(input, args));
  try {
    const { page, whole } = await reportOf(session, progress.update);
    await sink.write(new TextEncoder().encode(page));
    sink.commit();
    return whole ? EXIT.good : EXIT.badInput;
  } finally {
    progress.done();
    sink.abandon();
    await session.call("close", undefined, { progress: () => undefined, piece: async () => undefined });
  }
}
