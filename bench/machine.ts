import { spawnSync } from "node:child_process";
import * as os from "node:os";

/** How peers say which they are, where it isn't `NAME --version`. */
const ASKED: Readonly<Record<string, string>> = {
  makedumpfile: "makedumpfile -v",
  nginx: "/usr/sbin/nginx -v",
  libkdumpfile: "pkg-config --modversion libkdumpfile | sed 's/^/libkdumpfile /'",
};

/** The machine in words: processors, memory, kernel. */
export function describeMachine(): string {
  const cores = os.availableParallelism();
  const model = os.cpus()[0]?.model.trim() ?? "unknown processors";
  const memory = Math.round(os.totalmem() / 2 ** 30);
  // without what a distributor or an owner appended
  const kernel = /^\d+(\.\d+)*/.exec(os.release())?.[0] ?? os.release();
  return `${cores} cores (${model}), ${memory} GiB of memory, ${os.type()} ${kernel}`;
}

/** What a peer says its version is; undefined: it isn't here. */
export function versionOf(peer: string): string | undefined {
  const asked = ASKED[peer] ?? `${peer} --version`;
  const { status, stdout, stderr } = spawnSync("bash", ["-c", `set -o pipefail; ${asked}`], {
    encoding: "utf8",
  });
  const line = `${stdout}${stderr}`.split("\n").find((text) => /\d+\.\d+/.test(text));
  return status === 0 && line !== undefined ? line.replaceAll("*", "").trim() : undefined;
}
