import { describe, expect, it } from "vitest";
import { runCli } from "../shared.js";
import { fixturePath } from "./fixture.js";
import { columns, linesOf, pidsOf, readReport } from "./report.js";

const GUEST = fixturePath("panic-6.1.elf.xz");
const report = readReport("panic-6.1");

function json(...args: readonly string[]): Record<string, unknown> {
  const { status, stdout, stderr } = runCli(args);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** Lines of standard output without the head of the table. */
function rows(...args: readonly string[]): string[] {
  const { status, stdout, stderr } = runCli(args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout.split("\n").slice(1, -1);
}

/** A process that the guest reported on. */
function processOf(comm: string): number {
  const line = linesOf(report, "ps -o pid,ppid,user,stat,vsz,comm,args").find((text) => text.includes(comm));
  return Number(columns(line ?? "")[0]);
}

describe("guestscope mod", () => {
  it("lists /proc/modules", () => {
    const reported = linesOf(report, "cat /proc/modules").map((line) => columns(line)[0]);
    const { kind, modules } = json("mod", "--json", GUEST) as { kind: string; modules: { name: string }[] };
    expect(kind).toBe("linux-modules");
    expect(modules.map(({ name }) => name)).toEqual(reported);
    expect(rows("mod", GUEST).map((line) => columns(line).at(-1))).toEqual(reported);
  });
});

describe("guestscope mount", () => {
  it("shows what process 1 sees, or another that is asked for", () => {
    const reported = linesOf(report, "cat /proc/mounts").map((line) => columns(line)[1]);
    const { kind, mounts } = json("mount", "--json", GUEST) as { kind: string; mounts: { target: string }[] };
    expect(kind).toBe("linux-mounts");
    expect(mounts.map(({ target }) => target)).toEqual(reported);
    const inner = processOf("sleep 1000001");
    const other = json("mount", "--json", "--pid", String(inner), GUEST) as {
      mounts: { source: string; target: string }[];
    };
    // its own mount namespace has one more
    expect(other.mounts.filter(({ source }) => source === "inner-tmp")).toMatchObject([{ target: "/tmp" }]);
    expect(mounts.length).toBe(other.mounts.length - 1);
  });

  it("refuses a process that is not there", () => {
    const { status, stderr } = runCli(["mount", "--pid", "99999", GUEST]);
    expect({ status, stderr }).toMatchObject({ status: 2 });
    expect(stderr).toContain("the guest has no process 99999");
  });
});

describe("guestscope net", () => {
  it("lists interfaces and sockets of each namespace", () => {
    const { kind, namespaces, sockets } = json("net", "--json", GUEST) as {
      kind: string;
      namespaces: { interfaces: { name: string; up: boolean }[] }[];
      sockets: { protocol: string; local: string; owners: { comm: string }[] }[];
    };
    expect(kind).toBe("linux-network");
    // the second namespace is of the process that unshared it
    expect(namespaces.map(({ interfaces }) => interfaces.length)).toEqual([8, 1]);
    expect(namespaces[1]?.interfaces[0]).toMatchObject({ name: "lo", up: true });
    expect(sockets.find(({ local }) => local === "/run/guestwork.sock")?.owners[0]?.comm).toBe("guestwork");
    const { stdout } = runCli(["net", GUEST]);
    expect(stdout).toMatch(/^tcp +LISTEN +0\.0\.0\.0:8080 +0\.0\.0\.0:0 +guestwork\(\d+\):3$/m);
    expect(stdout).toMatch(/^tcp +ESTABLISHED +127\.0\.0\.1:8080 +127\.0\.0\.1:\d+$/m);
  });
});

describe("guestscope files and maps", () => {
  const pid = pidsOf(report, "fd").find((one) =>
    linesOf(report, `ls -l /proc/${one}/fd`).some((line) => line.includes("held-open")),
  );

  it("list what /proc shows", () => {
    const { kind, files } = json("files", "--json", GUEST, String(pid)) as {
      kind: string;
      files: { fd: number; path: string; kind: string }[];
    };
    expect(kind).toBe("linux-files");
    expect(files.find(({ fd }) => fd === 22)).toMatchObject({
      path: "/mnt/ext4/held-open.txt",
      kind: "file",
    });
    expect(files.find(({ fd }) => fd === 23)).toMatchObject({ path: "/tmp/deleted-but-open (deleted)" });
    const mapped = rows("maps", GUEST, String(pid));
    // without a head
    expect(mapped.length).toBe(linesOf(report, `cat /proc/${pid}/maps`).length - 1);
    const document = json("maps", "--json", GUEST, String(pid)) as { kind: string; mappings: unknown[] };
    expect(document.kind).toBe("linux-mappings");
    expect(document.mappings.length).toBe(mapped.length + 1);
  });

  it("say so of a kernel thread, which has no memory of its own", () => {
    const { status, stdout } = runCli(["maps", GUEST, "2"]);
    expect({ status, stdout }).toEqual({ status: 0, stdout: "kthreadd (2) has no memory of its own\n" });
    expect(json("files", "--json", GUEST, "2")).toMatchObject({ comm: "kthreadd", files: [] });
  });
});

describe("guestscope sym", () => {
  it("finds a name's address, and an address's name in the kernel and in modules", () => {
    const { symbols } = json("sym", "--json", GUEST, "init_task") as { symbols: { address: string }[] };
    const address = symbols[0]?.address ?? "";
    expect(address).toMatch(/^0xffffffff[0-9a-f]{8}$/);
    expect(runCli(["sym", GUEST, address]).stdout).toMatch(/^0x[0-9a-f]{16} init_task\+0x0\/0x[0-9a-f]+\n$/);
    const [, , , , , base = ""] = columns(
      linesOf(report, "cat /proc/modules").find((line) => line.startsWith("fuse ")) ?? "",
    );
    expect(runCli(["sym", GUEST, base]).stdout).toMatch(/ \[fuse\]$/m);
  });

  it("says what it doesn't find", () => {
    for (const wanted of ["no_such_symbol", "0x1234567812345678"]) {
      const { status, stderr } = runCli(["sym", GUEST, wanted]);
      expect({ status, code: /linux\/symbol\/absent/.test(stderr) }).toEqual({ status: 1, code: true });
    }
  });
});

describe("guestscope struct", () => {
  it("prints a layout, a member's place, and values at a symbol or an address", () => {
    const { stdout } = runCli(["struct", GUEST, "list_head"]);
    expect(stdout).toMatch(/^struct list_head \{\n/);
    expect(stdout).toMatch(/\/\* 16 bytes \*\/\n$/);
    const { size, offset } = json("struct", "--json", GUEST, "task_struct.comm");
    expect(size).toBe(16);
    expect(offset).toBeGreaterThan(1000);
    expect(json("struct", "--json", GUEST, "task_struct.comm", "init_task").value).toBe("swapper/0");
    const { symbols } = json("sym", "--json", GUEST, "init_task") as { symbols: { address: string }[] };
    const at = symbols[0]?.address ?? "";
    expect(json("struct", "--json", GUEST, "task_struct.pid", at)).toMatchObject({ address: at, value: 0 });
  });

  it("says what a kernel's types lack and what memory lacks", () => {
    const lacking = runCli(["struct", GUEST, "no_such_struct"]);
    expect(lacking.status).toBe(1);
    expect(lacking.stderr).toContain("linux/type/absent");
    const absent = runCli(["struct", GUEST, "list_head", "0xffff800000000000"]);
    expect(absent.status).toBe(1);
    expect(absent.stderr).toContain("linux/memory/absent");
  });
});

describe("guestscope symbols", () => {
  it("refuses names that say nothing, and compressions that it doesn't write", () => {
    const odd = runCli(["symbols", GUEST, "out.file"]);
    expect(odd.status).toBe(2);
    expect(odd.stderr).toContain("does not say what kind of symbol file");
    const packed = runCli(["symbols", GUEST, "out.json.xz"]);
    expect(packed.status).toBe(2);
    expect(packed.stderr).toContain("not written as xz");
  });
});
