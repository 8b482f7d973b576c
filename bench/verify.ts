import * as path from "node:path";
import { compare, GUESTSCOPE, inMemory, medianSeconds, peakMemory, record } from "./harness.js";
import { makeXenStream } from "./make-xen-stream.js";

const GIB_PAGES = (1 << 30) / 4096;

/** Verifying Xen streams: by records from a file, by bytes from a pipe. */
export async function run(): Promise<void> {
  await inMemory(async (folder) => {
    const file = (name: string): string => path.join(folder, name);
    const seconds = (name: string, spec: string, bar: number): void => {
      const value = medianSeconds(`${GUESTSCOPE} verify -q ${spec}`);
      record(name, `${value.toFixed(3)} s`, `bar under ${bar} s`, value < bar);
    };

    makeXenStream(file("small"), { pages: 16 });
    makeXenStream(file("empty"), { pages: 16, empty: 1 << 20 });
    const base = medianSeconds(`${GUESTSCOPE} verify -q ${file("small")}`);
    record("verify: a stream of 16 pages (start-up)", `${base.toFixed(3)} s`);
    const added = medianSeconds(`${GUESTSCOPE} verify -q ${file("empty")}`) - base;
    record(
      "verify: a million entries without data add",
      `${added.toFixed(3)} s`,
      "bar under 0.1 s",
      added < 0.1,
    );

    makeXenStream(file("holes"), { pages: 32 * GIB_PAGES, holes: true });
    seconds("verify: 32 GiB stream, contents are holes", file("holes"), 0.5);
    const holesMemory = peakMemory(`${GUESTSCOPE} verify -q ${file("holes")}`);
    if (holesMemory !== undefined) {
      record(
        "verify: its peak memory",
        `${holesMemory.toFixed(0)} MiB`,
        "bar under 120 MiB",
        holesMemory < 120,
      );
    }

    makeXenStream(file("one"), { pages: GIB_PAGES });
    seconds("verify: 1 GiB file", file("one"), 0.25);

    makeXenStream(file("pipe"), { pages: 4 * GIB_PAGES });
    compare({
      name: "verify: 4 GiB through a pipe",
      ours: `cat ${file("pipe")} | ${GUESTSCOPE} verify -q -`,
      peer: `cat ${file("pipe")} | cat > /dev/null`,
      peerName: "cat | cat",
      bar: 0.9,
    });
  });
}
