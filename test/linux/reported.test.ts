import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { GuestImage } from "../../src/guest/image.js";
import { networkNamespaces } from "../../src/linux/interfaces.js";
import { type Kernel, openKernel } from "../../src/linux/kernel.js";
import { listModules } from "../../src/linux/modules.js";
import { type Mount, mountsOf } from "../../src/linux/mounts.js";
import { openFiles } from "../../src/linux/open-files.js";
import { openSockets } from "../../src/linux/sockets.js";
import { listTasks, type Task } from "../../src/linux/tasks.js";
import { listMappings } from "../../src/linux/user-mappings.js";
import { openFixture } from "./fixture.js";
import { columns, type GuestReport, linesOf, pidsOf, readReport, REPORTED } from "./report.js";

async function collect<T>(from: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of from) all.push(one);
  return all;
}

/** Words of netstat for the states that differ. */
const NETSTAT: Readonly<Record<string, string>> = { CONNECTED: "ESTABLISHED", LISTENING: "LISTEN" };

/** `0.0.0.0:*` and `:::8081` of netstat, as we write them. */
function place(text: string): string {
  const [, host = "", port = ""] = /^(.*):([^:]*)$/.exec(text) ?? [];
  return `${host.includes(":") ? `[${host}]` : host}:${port === "*" ? "0" : port}`;
}

describe.each(REPORTED)("what %s reported of itself", (name) => {
  let guest: GuestImage;
  let kernel: Kernel;
  let report: GuestReport;
  let tasks: ReadonlyMap<number, Task>;

  const task = (pid: number): Task => {
    const found = tasks.get(pid);
    if (found === undefined) throw new Error(`no process ${pid}`);
    return found;
  };

  beforeAll(async () => {
    guest = await openFixture(name);
    kernel = await openKernel(guest);
    report = readReport(name);
    tasks = new Map((await collect(listTasks(kernel))).map((one) => [one.pid, one]));
  });

  afterAll(async () => guest.close?.());

  it("mounts: numbers, sources, targets, types, read-only ones", async () => {
    const mounts = await collect(mountsOf(kernel, task(1).object));
    const reported = linesOf(report, "cat /proc/self/mountinfo").map((line) => {
      const [id, , , , target = "", options = ""] = columns(line);
      const [type = "", source = "", own = ""] = columns(line.split(" - ")[1] ?? "");
      const isReadOnly = [options, own].some((text) => text.split(",").includes("ro"));
      return { id: Number(id), source, target, type, readOnly: isReadOnly };
    });
    const shown = mounts.map(({ id, source, target, type, readOnly }: Mount) => ({
      id,
      source,
      target,
      type,
      readOnly,
    }));
    expect(reported.length).toBeGreaterThan(10);
    expect(shown.toSorted((a, b) => a.id - b.id)).toEqual(reported.toSorted((a, b) => a.id - b.id));
  });

  it("modules, newest first: addresses and sizes", async () => {
    const reported = linesOf(report, "cat /proc/modules").map((line) => {
      const [module = "", size = "", , , , address = ""] = columns(line);
      return { name: module, size: Number(size), address: BigInt(address) };
    });
    const modules = await listModules(kernel);
    expect(reported.length).toBeGreaterThan(10);
    expect(modules.map(({ name: module, size, address }) => ({ name: module, size, address }))).toEqual(
      reported,
    );
    expect(modules.every(({ taint }) => taint === "")).toBe(true);
  });

  it("interfaces with their addresses", async () => {
    const [first] = await collect(networkNamespaces(kernel));
    const reported: { name: string; up: boolean; mtu: number; hardware: string; addresses: string[] }[] = [];
    for (const line of linesOf(report, "ip addr")) {
      const head = /^\d+: ([^:@]+)[^:]*: <(.*)> mtu (\d+)/.exec(line);
      const [kind, value = ""] = columns(line);
      const last = reported.at(-1);
      if (head !== null) {
        const [, device = "", flags = "", mtu] = head;
        const isUp = flags.split(",").includes("UP");
        reported.push({ name: device, up: isUp, mtu: Number(mtu), hardware: "", addresses: [] });
      } else if (last === undefined) continue;
      else if (/^inet6?$/.test(kind ?? "")) last.addresses.push(value);
      else if (/^link\/(ether|loopback)$/.test(kind ?? "")) last.hardware = value;
    }
    expect(reported.length).toBeGreaterThan(5);
    expect(
      first?.interfaces.map(({ name: device, up, mtu, hardwareAddress, addresses }) => ({
        name: device,
        up,
        mtu,
        hardware: hardwareAddress,
        addresses: [...addresses].sort(),
      })),
    ).toEqual(reported.map((device) => ({ ...device, addresses: device.addresses.sort() })));
  });

  it("sockets of the Internet as netstat lists them, owned or not", async () => {
    const [first] = await collect(networkNamespaces(kernel));
    const sockets = (await openSockets(kernel)).filter(({ namespace }) => namespace === first?.inode);
    const shown = sockets.flatMap(({ protocol, state, local, remote }) =>
      /^(tcp|udp|raw)6?$/.test(protocol)
        ? [`${protocol.replace("6", "")} ${local} ${remote} ${protocol.startsWith("tcp") ? state : ""}`]
        : [],
    );
    const reported = linesOf(report, "netstat -an").flatMap((line) => {
      const [protocol = "", , , local = "", remote = "", state = ""] = columns(line);
      if (!/^(tcp|udp|raw)$/.test(protocol)) return [];
      return [`${protocol} ${place(local)} ${place(remote)} ${protocol === "tcp" ? state : ""}`];
    });
    expect(reported.length).toBeGreaterThan(8);
    expect(shown.sort()).toEqual(reported.sort());
    // one connection was not accepted: nobody holds it
    expect(sockets.filter(({ owners }) => owners.length === 0).map(({ protocol }) => protocol)).toEqual([
      "tcp",
    ]);
  });

  it("unix sockets as netstat lists them", async () => {
    const sockets = (await openSockets(kernel)).filter(({ protocol }) => protocol === "unix");
    const reported = linesOf(report, "netstat -an").flatMap((line) => {
      const parts = /^unix +\d+ +\[[^\]]*\] +\S+ +(CONNECTED|LISTENING)? +(\d+) ?(.*)$/.exec(line);
      if (parts === null) return [];
      const [, state = "", inode = "", path = ""] = parts;
      return [`${inode} ${NETSTAT[state] ?? ""} ${path.trim()}`];
    });
    expect(reported.length).toBeGreaterThan(5);
    expect(sockets.map(({ inode, state, local }) => `${inode} ${state} ${local}`).sort()).toEqual(
      reported.sort(),
    );
  });

  it("open files of processes", async () => {
    let checked = 0;
    for (const pid of pidsOf(report, "fd")) {
      const known = tasks.get(pid);
      if (known === undefined) continue;
      const files = await collect(openFiles(kernel, known));
      const shown = files.map(({ fd, path }) => `${fd} ${path ?? ""}`).sort();
      const reported = linesOf(report, `ls -l /proc/${pid}/fd`).flatMap((line) => {
        const [, fd, target] = /(\d+) -> (.*)$/.exec(line) ?? [];
        return fd === undefined ? [] : [`${fd} ${target ?? ""}`];
      });
      // the shell that reports opens and closes files of its own
      if (pid !== 1) expect(shown).toEqual(reported.sort());
      checked += reported.length;
    }
    expect(checked).toBeGreaterThan(40);
  });

  it("mappings of processes", async () => {
    let checked = 0;
    for (const pid of pidsOf(report, "maps")) {
      const known = tasks.get(pid);
      if (known === undefined || pid === 1) continue;
      const mappings = await collect(listMappings(kernel, known.mm));
      const shown = mappings.map(
        ({ start, end, permissions, offset, file }) =>
          `${start.toString(16)} ${end.toString(16)} ${permissions} ${offset.toString(16)} ${file ?? ""}`,
      );
      const reported = linesOf(report, `cat /proc/${pid}/maps`).map((line) => {
        const [range = "", permissions = "", offset = "", , , file = ""] = columns(line);
        const [start = "", end = ""] = range.split("-");
        const isFile = file.startsWith("/");
        const name = isFile ? line.slice(line.indexOf("/")) : "";
        const plain = (text: string): string => text.replace(/^0+(?=.)/, "");
        return `${plain(start)} ${plain(end)} ${permissions} ${isFile ? plain(offset) : "0"} ${name}`;
      });
      expect(shown).toEqual(reported);
      checked += reported.length;
    }
    expect(checked).toBeGreaterThan(50);
  });

  it("meets no trouble", () => {
    expect(kernel.troubles).toEqual([]);
  });
});
