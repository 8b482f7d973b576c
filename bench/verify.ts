import * as path from "node:path";
import { median, record } from "./figures.js";
import { compare, GUESTSCOPE, inMemory, recordPeak, secondsOf, recordStart } from "./harness.js";
import { makeXenStream } from "./make-xen-stream.js";

const GIB_PAGES = (1 << 30) / 4096;

/** What the report says of this bench, and programs that it compares with. */
export const title = "Xen streams verified: by records from a file, by bytes from a pipe.";
export const peers = ["cat"];

/** Verifying Xen streams: by records from a file, by bytes from a pipe. */
export async function run(): Promise<void> {
  await inMemory(async (folder) => {
    const file = (name: string): string => path.join(folder, name);
    const seconds = (spec: string): number[] => secondsOf(`${GUESTSCOPE} verify -q ${spec}`);

    makeXenStream(file("small"), { pages: 16 });
    makeXenStream(file("empty"), { pages: 16, empty: 1 << 20 });
    const start = seconds(file("small"));
    recordStart(
      { name: "start of verify, 16 pages, over node's own" },
      `${GUESTSCOPE} verify -q ${file("small")}`,
    );
    record({
      name: "verify: a million entries without data add",
      values: seconds(file("empty")).map((whole) => whole - median(start)),
      unit: "s",
      most: 0.1,
    });

    makeXenStream(file("holes"), { pages: 32 * GIB_PAGES, holes: true });
    record({
      name: "verify: 32 GiB stream, contents are holes",
      values: seconds(file("holes")),
      unit: "s",
      most: 0.5,
    });
    recordPeak({ name: "verify: its memory", most: 120 }, `${GUESTSCOPE} verify -q ${file("holes")}`);

    makeXenStream(file("one"), { pages: GIB_PAGES });
    record({ name: "verify: 1 GiB file", values: seconds(file("one")), unit: "s", most: 0.25 });

    makeXenStream(file("pipe"), { pages: 4 * GIB_PAGES, holes: true });
    compare({
      name: "verify: 4 GiB through a pipe, contents are holes",
      ours: `cat ${file("pipe")} | ${GUESTSCOPE} verify -q -`,
      peer: `cat ${file("pipe")} | cat > /dev/null`,
      peerName: "cat | cat",
      bar: 0.9,
    });
  });
}
