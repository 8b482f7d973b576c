import { execFileSync, spawnSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hasProgram, hasShared, runCli, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const PROGRAMS = ["crash", "makedumpfile", "drgn"] as const;
type Program = (typeof PROGRAMS)[number];

interface Guest {
  readonly kind: "PV" | "HVM";
  readonly release: string;
  /** A save, and what `xl dump-core` wrote of the same paused domain. */
  readonly save: string;
  readonly core: string;
}
const GUESTS: readonly Guest[] = [
  { kind: "PV", release: "6.12.117+deb13-amd64", save: "xen420/pvl.save", core: "xen420/pvl.core" },
  {
    kind: "HVM",
    release: "6.1.0-56-cloud-amd64",
    save: "xen-v3/hvmlinux.save",
    core: "xen-v3/hvmlinux.core",
  },
];

/** Which program opens which output: docs/guest-model.md has the table. */
const OPENS: Readonly<Record<Guest["kind"], Readonly<Record<string, readonly Program[]>>>> = {
  PV: { elf: ["makedumpfile", "drgn"], kdump: ["makedumpfile", "drgn"], "xen-core": ["crash"] },
  HVM: {
    elf: ["crash", "makedumpfile", "drgn"],
    kdump: ["crash", "makedumpfile", "drgn"],
    "xen-core": ["crash"],
  },
};

const unpacked = (name: string, base?: string): string => {
  const packed = path.join(sharedData, `${name}${base === undefined ? "" : ".patch"}.zst`);
  return unzstd(packed, folder, base === undefined ? {} : { patchFrom: base });
};

/** What a program says of the kernel in a dump. */
const SAYS: Readonly<Record<Program, (dump: string, vmlinux: string) => string>> = {
  crash(dump, vmlinux) {
    const commands = path.join(folder, "commands");
    fs.writeFileSync(commands, "sys\nquit\n");
    const run = spawnSync("crash", ["-s", "-i", commands, vmlinux, dump], {
      encoding: "utf8",
      timeout: 120_000,
      stdio: ["ignore", "pipe", "pipe"],
    });
    return `${run.signal ?? ""}${run.stdout}${run.stderr}`;
  },
  makedumpfile(dump) {
    const log = path.join(folder, "dmesg");
    execFileSync("makedumpfile", ["--dump-dmesg", "-f", dump, log]);
    return fs.readFileSync(log, "utf8");
  },
  drgn(dump, vmlinux) {
    const script = [
      "import drgn, sys",
      "p = drgn.Program(); p.set_core_dump(sys.argv[1]); p.load_debug_info([sys.argv[2]])",
      // through the kernel's page tables
      "print(p['init_uts_ns'].name.release.string_().decode())",
    ].join("\n");
    return execFileSync("/usr/bin/python3", ["-c", script, dump, vmlinux], { encoding: "utf8" });
  },
};

const lacking = skipUnless(hasShared && hasProgram("zstd"), "shared data or zstd");

describe.skipIf(lacking).each(GUESTS)("outputs of a $kind Linux guest", ({ kind, release, save, core }) => {
  let inputs: Record<"save" | "core", string> = { save: "", core: "" };
  const vmlinux = path.join(folder, `${kind}.vmlinux`);

  beforeAll(() => {
    const base = unpacked(save);
    inputs = { save: base, core: unpacked(core, base) };
    expect(runCli(["symbols", "--to", "vmlinux", base, vmlinux]).status).toBe(0);
  });

  const cases = Object.entries(OPENS[kind]).flatMap(([output, programs]) =>
    (["save", "core"] as const).flatMap((input) =>
      programs.map((program) => [output, input, program] as const),
    ),
  );
  it.each(cases)("%s of its %s: %s opens it", (output, input, program) => {
    if (skipUnless(hasProgram(program), program)) return;
    const dump = path.join(folder, `${kind}.${input}.${output}`);
    if (!fs.existsSync(dump)) expect(runCli(["extract", inputs[input], dump, "--to", output]).status).toBe(0);
    const said = SAYS[program](dump, vmlinux);
    expect(said).toContain(release);
    expect(said).not.toMatch(/SIGSEGV|segmentation/i);
  });
});
