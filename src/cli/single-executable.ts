import * as path from "node:path";

/**
 * The main script of the single executable (`npm run build:binary`): runs the program that it was called as, so that a
 * link `convert-legacy-stream` to it is that drop-in, and any other name is `guestscope`.
 */
const PROGRAMS: Readonly<Record<string, () => Promise<{ readonly run: () => Promise<void> }>>> = {
  "verify-stream-v2": () => import("./compat/verify-stream-v2.js"),
  "convert-legacy-stream": () => import("./compat/convert-legacy-stream.js"),
  "dump-guest-memory": () => import("./compat/dump-guest-memory.js"),
};

/** As Node's own status when a program's main module never ends: in place until the program sets its own. */
const UNSETTLED = 13;

const name = path.basename(process.argv0).replace(/\.exe$/, "");
const load = Object.hasOwn(PROGRAMS, name) ? PROGRAMS[name] : undefined;
process.exitCode = UNSETTLED;
void (load ?? (() => import("./main.js")))().then(({ run }) => run());
