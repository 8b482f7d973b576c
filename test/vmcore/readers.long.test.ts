import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  fixtures,
  gunzipText,
  hasProgram,
  hasShared,
  runCli,
  scratch,
  sharedData,
  skipUnless,
  unzstd,
} from "../shared.js";
import { drgn, filteredSize, hasDrgn, type Program, PROGRAMS, said } from "./readers.js";

/** Debian's programs open what `extract` writes; docs/kdump.md has the table, newer programs were tried by hand. */

const { folder, cleanup } = scratch();
afterAll(cleanup);

const HVM_SAVE = "xen-v3/hvmlinux.save";
const CLOUD = "6.1.0-56-cloud-amd64";

interface Guest {
  readonly kind: string;
  readonly release: string;
  /** The guest saved, and where there is one what `xl dump-core` wrote of the same paused domain. */
  readonly inputs: Readonly<Record<string, () => string>>;
  /** A save of the same kernel, out of which its vmlinux is made. */
  readonly kernel: () => string;
  /** Processes that the guest said it had. */
  readonly tasks?: () => ReadonlyMap<number, string>;
  /** Programs by output. */
  readonly opens: Readonly<Record<string, readonly Program[]>>;
}

const shared = (name: string, base?: string): string => {
  const packed = path.join(sharedData, `${name}${base === undefined ? "" : ".patch"}.zst`);
  return unzstd(packed, folder, base === undefined ? {} : { patchFrom: shared(base) });
};
const ofReaders = (name: string): string => path.join(fixtures, "readers", name);

/** pid and name of what a guest's own `ps` listed, but for programs that end. */
function processes(report: string): ReadonlyMap<number, string> {
  const rows = gunzipText(ofReaders(report)).matchAll(/^ +(\d+) +\d+ +\S+ +(\S+) /gm);
  const found = [...rows].map(([, pid, name = ""]) => [Number(pid), name] as const);
  return new Map(found.filter(([, name]) => name !== "ps" && !name.startsWith("kworker/")));
}

const ALL = PROGRAMS;
/** makedumpfile of Debian is built without Snappy and zstd. */
const PACKED = {
  "kdump none": ALL,
  "kdump zlib": ALL,
  "kdump lzo": ALL,
  "kdump snappy": ["crash", "drgn"],
  "kdump zstd": ["crash", "drgn"],
} as const;

const GUESTS: readonly Guest[] = [
  {
    kind: "PV",
    release: "6.12.117+deb13-amd64",
    inputs: {
      save: () => shared("xen420/pvl.save"),
      core: () => shared("xen420/pvl.core", "xen420/pvl.save"),
    },
    kernel: () => shared("xen420/pvl.save"),
    // crash takes a PV guest for one that needs a p2m
    opens: {
      elf: ["makedumpfile", "drgn"],
      "kdump zlib": ["makedumpfile", "drgn"],
      "kdump zstd": ["drgn"],
      "xen-core": ["crash"],
    },
  },
  {
    kind: "HVM",
    release: CLOUD,
    inputs: { save: () => shared(HVM_SAVE), core: () => shared("xen-v3/hvmlinux.core", HVM_SAVE) },
    kernel: () => shared(HVM_SAVE),
    opens: { elf: ALL, ...PACKED, "xen-core": ["crash"] },
  },
  {
    kind: "PVH",
    release: CLOUD,
    inputs: { save: () => ofReaders("pvh-6.1-cloud.save.zst") },
    kernel: () => shared(HVM_SAVE),
    tasks: () => processes("pvh-6.1-cloud.report.txt.gz"),
    opens: { elf: ALL, ...PACKED, "xen-core": ["crash"] },
  },
  {
    kind: "QEMU x86_64, four levels",
    release: CLOUD,
    inputs: { stream: () => ofReaders("qemu-6.1-cloud.qevm.zst") },
    kernel: () => shared(HVM_SAVE),
    tasks: () => processes("qemu-6.1-cloud.report.txt.gz"),
    opens: { elf: ALL, ...PACKED },
  },
  {
    kind: "QEMU x86_64, five levels",
    release: "7.2.13+deb14-cloud-amd64",
    inputs: { stream: () => shared("qemu11/linux-q35-la57/stream.qevm") },
    kernel: () => shared("qemu11/linux-q35-la57/stream.qevm"),
    // crash 8.0.2 is older than this kernel
    opens: { elf: ["makedumpfile", "drgn"], "kdump zlib": ["makedumpfile", "drgn"], "kdump zstd": ["drgn"] },
  },
];

/** What `extract` writes of an input as `output`: `elf`, `kdump zlib` … */
function written(input: string, name: string, output: string): string {
  const [to = "", codec] = output.split(" ");
  const dump = path.join(folder, `${name}.${output}`.replaceAll(/[ ,]+/g, "-"));
  if (fs.existsSync(dump)) return dump;
  const compress = codec === undefined ? [] : ["--compress", codec];
  const { status, stderr } = runCli(["extract", "-q", input, dump, "--to", to, ...compress]);
  expect(status, stderr).toBe(0);
  return dump;
}

const hasIt = (program: Program): boolean => (program === "drgn" ? hasDrgn : hasProgram(program));
const lacking = skipUnless(hasShared && hasProgram("zstd"), "shared data or zstd");

describe.skipIf(lacking).each(GUESTS)("outputs of a $kind Linux guest", (guest) => {
  const vmlinux = path.join(folder, `${guest.release}.vmlinux`);

  beforeAll(() => {
    if (fs.existsSync(vmlinux)) return;
    const { status, stderr } = runCli(["symbols", "-q", "--to", "vmlinux", guest.kernel(), vmlinux]);
    expect(status, stderr).toBe(0);
  });

  const cases = Object.entries(guest.opens).flatMap(([output, programs]) =>
    Object.keys(guest.inputs).flatMap((input) =>
      programs.map((program) => [output, input, program] as const),
    ),
  );
  it.each(cases)("%s of its %s: %s opens it", (output, input, program) => {
    if (skipUnless(hasIt(program), program)) return;
    const dump = written(guest.inputs[input]?.() ?? "", `${guest.kind}.${input}`, output);
    const text = said(program, dump, vmlinux, folder);
    expect(text).toContain(guest.release);
    expect(text).not.toMatch(/SIGSEGV|segmentation/i);
    if (program !== "drgn") return;
    const listed = new Map(
      [...text.matchAll(/^pid (\d+) (.*)$/gm)].map(([, pid, name = ""]) => [Number(pid), name]),
    );
    expect(listed.size).toBeGreaterThan(40);
    for (const [pid, name] of guest.tasks?.() ?? []) expect([pid, listed.get(pid)]).toEqual([pid, name]);
    // drgn 0.0.22 is older than the stacks of kernels from 6.4 on
    if (guest.release === CLOUD)
      expect(Number(/^frames (\d+)$/m.exec(text)?.[1])).toBeGreaterThan(4 * listed.size);
  });

  it.skipIf(skipUnless(hasProgram("makedumpfile"), "makedumpfile"))(
    "makedumpfile filters its ELF dump",
    () => {
      for (const [name, input] of Object.entries(guest.inputs)) {
        const dump = written(input(), `${guest.kind}.${name}`, "elf");
        expect(filteredSize(dump, folder)).toBeLessThan(fs.statSync(dump).size / 2);
      }
    },
  );
});

/** Debian's crash and makedumpfile for x86_64 open no arm64 dump; drgn does. */
const ARM = path.join(fixtures, "linux/arm64-6.12");

const NAMES = `
import gzip, json
known = json.load(gzip.open(sys.argv[2]))
for task in known["tasks"] + known["idle"]:
    name = p.read(int(task["task"], 16) + int(sys.argv[3]), 16).split(b"\\0")[0].decode()
    print(task["comm"] == name, name)
print(p.platform.arch)
`;

describe.skipIf(skipUnless(hasDrgn && hasProgram("xz"), "drgn or xz"))(
  "outputs of an arm64 Linux guest",
  () => {
    it.each(["elf", ...Object.keys(PACKED)])(
      "%s: drgn reads its tasks by the kernel's addresses",
      (output) => {
        const type = runCli(["struct", `${ARM}.elf.xz`, "task_struct", "--json"]);
        const { members } = JSON.parse(type.stdout) as { members: { name: string; offset: number }[] };
        const offset = members.find(({ name }) => name === "comm")?.offset ?? -1;
        const dump = written(`${ARM}.elf.xz`, "arm64", output);
        const lines = drgn(NAMES, dump, `${ARM}.tasks.json.gz`, String(offset)).trim().split("\n");
        expect(lines.pop()).toBe("Architecture.AARCH64");
        expect(lines.length).toBeGreaterThan(90);
        expect(lines.filter((line) => !line.startsWith("True "))).toEqual([]);
      },
    );
  },
);
