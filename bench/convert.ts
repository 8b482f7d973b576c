import * as fs from "node:fs";
import * as path from "node:path";
import { hasProgram } from "../test/shared.js";
import { record } from "./figures.js";
import {
  clearOutput,
  compare,
  inMemory,
  medianSeconds,
  recordPeak,
  secondsOf,
  recordStart,
} from "./harness.js";
import { makePlainStream, makeRemusStream } from "./make-legacy-stream.js";

const PAGES = 2 ** 31 / 4096;
const CONVERT = `${process.execPath} ${path.resolve(import.meta.dirname, "../dist/cli/compat/convert-legacy-stream.js")}`;

/** What a plain loop costs: the same batches, read and written one call at a time. */
const REFERENCE = `
import struct, sys
source, target = open(sys.argv[1], "rb"), open(sys.argv[2], "wb")
source.read(8)
while True:
    marker, = struct.unpack("=i", source.read(4))
    if marker > 0:
        pfns = struct.unpack("%dQ" % marker, source.read(8 * marker))
        data = source.read(4096 * len([pfn for pfn in pfns if pfn >> 28 < 13]))
        target.write(struct.pack("=IIII", 1, 8 + 8 * marker + len(data), marker, 0))
        target.write(struct.pack("%dQ" % marker, *[(pfn >> 28 << 60) | pfn & 0xfffffff for pfn in pfns]))
        target.write(data)
    elif marker == -7:
        source.read(20)
    else:
        break
target.write(source.read())
`;

/** What the report says of this bench, and programs that it compares with. */
export const title =
  "Legacy Xen streams of 2 GiB converted to version 3, against plain copies of the same bytes.";
export const peers = ["cat", "python3"];

/** Converting legacy streams of 2 GiB, against plain copying. */
export async function run(): Promise<void> {
  await inMemory(async (folder) => {
    const file = (name: string): string => path.join(folder, name);
    makePlainStream(file("hvm"), "hvm", PAGES);
    makePlainStream(file("pv"), "pv", PAGES);
    const call = (guest: string, from: string, to: string): string =>
      `TMPDIR=${folder} ${CONVERT} -i ${from} -o ${to} -w 64 -g ${guest} -f libxl`;
    const prepare = clearOutput(file("out"), 2100);
    const copy = { peerName: "cat A > B", prepare } as const;

    for (const [guest, bar] of [
      ["hvm", 0.9],
      ["pv", 0.8],
    ] as const) {
      const peer = `cat ${file(guest)} > ${file("out")}`;
      compare({
        name: `convert: ${guest}, file to file`,
        ours: call(guest, file(guest), file("out")),
        peer,
        bar,
        limit:
          "starting the program is 0.12 s of 1.15 to 1.3; cat, which takes 1.0 s, looks at nothing that it copies",
        ...copy,
      });
    }
    if (hasProgram("python3")) {
      fs.writeFileSync(file("reference.py"), REFERENCE);
      compare({
        name: "convert: hvm, file to file",
        ours: call("hvm", file("hvm"), file("out")),
        peer: `python3 ${file("reference.py")} ${file("hvm")} ${file("out")}`,
        peerName: "python3 reading and writing the same batches",
        prepare,
        rounds: 3,
      });
    }
    for (const guest of ["hvm", "pv"]) {
      fs.rmSync(file("out"), { force: true });
      recordPeak(
        { name: `convert: ${guest}, memory`, most: 150 },
        `${CONVERT} -i ${file(guest)} -o ${file("out")} -w 64 -g ${guest} -f libxl`,
      );
    }
    for (const name of ["hvm", "pv", "out"]) fs.rmSync(file(name), { force: true });

    const bytes = makeRemusStream(file("remus"), 33);
    makeRemusStream(file("remus-short"), 1);
    const convertRemus = (name: string): string =>
      `rm -f ${file("out")}; ${call("hvm", file(name), file("out"))}`;
    const short = medianSeconds(convertRemus("remus-short"), 3);
    const seconds = secondsOf(convertRemus("remus"), 3);
    record({
      name: "convert: compressed checkpoints, pages decoded",
      values: seconds.map((whole) => (bytes * (32 / 33)) / (whole - short) / 1e6),
      unit: "MB/s",
      least: 500,
    });
    recordPeak(
      { name: "convert: compressed checkpoints, memory", most: 150 },
      `${CONVERT} -i ${file("remus")} -o ${file("out")} -w 64 -g hvm -f libxl`,
    );
  });
  await inMemory(async (folder) => {
    const file = (name: string): string => path.join(folder, name);
    for (const [guest, bar] of [
      ["hvm", 0.8],
      ["pv", 0.4],
    ] as const) {
      makePlainStream(file("stream"), guest, 2 * PAGES, true);
      const spooled = guest === "pv";
      const convert = `TMPDIR=${folder} ${CONVERT} -i 0 -o 1 -w 64 -g ${guest} -f libxl`;
      compare({
        name: `convert: ${guest}, 4 GiB, pipe to pipe${spooled ? " (spooled)" : ""}`,
        ours: `cat ${file("stream")} | ${convert} | cat > /dev/null`,
        peer: `cat ${file("stream")} | cat | cat > /dev/null`,
        peerName: "cat | cat | cat",
        bar,
        ...(spooled ? { prepare: clearOutput(file("spool"), 4200) } : {}),
      });
    }
    const small = file("small");
    makePlainStream(small, "hvm", 1024);
    recordStart(
      { name: "start of convert-legacy-stream, 4 MiB, over node's own" },
      `${CONVERT} -i ${small} -o ${file("out")} -w 64 -g hvm -f libxl`,
    );
  });
}
