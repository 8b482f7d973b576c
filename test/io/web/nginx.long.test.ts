import { execFileSync, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as net from "node:net";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeXenSave } from "../../../bench/make-xen-save.js";
import { hasProgram, hasShared, projectRoot, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";

const absent =
  skipUnless(hasProgram("nginx") || fs.existsSync("/usr/sbin/nginx"), "nginx") ||
  skipUnless(hasShared, "shared data");

const { folder, cleanup } = scratch();
let port = 0;
let stop: () => void = () => undefined;

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port: found } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return found;
}

interface Ran {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the built command line, without blocking this process. */
async function run(...args: string[]): Promise<Ran> {
  const child = spawn(process.execPath, [path.join(projectRoot, "dist/cli/main.js"), ...args]);
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (data: Buffer) => (stdout += data.toString()));
  child.stderr.on("data", (data: Buffer) => (stderr += data.toString()));
  const status = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { status, stdout, stderr };
}

const address = (file: string, location = "files"): string => `http://127.0.0.1:${port}/${location}/${file}`;

describe.skipIf(absent)("inputs behind nginx", () => {
  beforeAll(async () => {
    port = await freePort();
    const configuration = `daemon off; master_process off; error_log stderr crit; pid ${folder}/nginx.pid;
      events {}
      http {
        access_log off; client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f;
        uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;
        server {
          listen 127.0.0.1:${port};
          location /files/ { alias ${folder}/; }
          location /whole/ { alias ${folder}/; max_ranges 0; }
          location /moved/ { return 302 /files/v3.qcow2; }
        }
      }`;
    fs.writeFileSync(path.join(folder, "nginx.conf"), configuration);
    const program = hasProgram("nginx") ? "nginx" : "/usr/sbin/nginx";
    const server = spawn(program, ["-p", folder, "-c", path.join(folder, "nginx.conf")], { stdio: "ignore" });
    stop = () => server.kill();
    for (let i = 0; i < 100; i += 1) {
      const isUp = await fetch(address("nginx.conf")).then(
        ({ ok }) => ok,
        () => false,
      );
      if (isUp) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error("nginx didn't start");
  });
  afterAll(() => stop());
  afterAll(cleanup);

  const INPUTS: readonly (readonly [name: string, make: () => string])[] = [
    [
      "a qcow2 image",
      () => unzstd(path.join(sharedData, "qemu11/qcow2-ext2/disk.qcow2.zst"), folder, { name: "ext2.qcow2" }),
    ],
    ["a Xen save", () => unzstd(path.join(sharedData, "xen-v3/hvm64.save.zst"), folder)],
    [
      "a core of a process",
      () => unzstd(path.join(sharedData, "qemu-core/tiny-pc/core.zst"), folder, { name: "tiny-pc.core" }),
    ],
    ["a kdump", () => unzstd(path.join(sharedData, "kdump/linux.zlib-d31.kdump.zst"), folder)],
    ["a vmcore", () => unzstd(path.join(sharedData, "field/qemu-riscv64.elf.zst"), folder)],
    ["a LiME dump", () => unzstd(path.join(sharedData, "field/compressed.avml.zst"), folder)],
    [
      "a compressed file",
      () => {
        const copy = path.join(folder, "packed.gz");
        execFileSync("sh", [
          "-c",
          `zstd -dc '${path.join(sharedData, "field/compressed.avml.zst")}' | gzip > '${copy}'`,
        ]);
        return copy;
      },
    ],
  ];

  it.each(INPUTS)("%s gives what the file gives", async (_name, make) => {
    const file = make();
    const name = path.basename(file);
    for (const location of ["files", "whole"]) {
      for (const command of ["inspect", "verify"]) {
        const local = await run(command, file);
        const remote = await run(command, address(name, location));
        expect(remote.status).toBe(local.status);
        // a Xen save that comes as a stream is described as one from a pipe is
        if (location === "files" || !name.endsWith(".save"))
          expect(remote.stdout.replaceAll(address(name, location), file)).toBe(local.stdout);
        expect(remote.stderr).toMatch(/\d+ requests?, /);
        if (location === "whole") expect(remote.stderr).toMatch(/gives no ranges/);
      }
    }
  });

  it("extracts a snapshot's guest, following a redirect", async () => {
    const file = unzstd(path.join(sharedData, "qemu11/qcow2-v3/disk.qcow2.zst"), folder, {
      name: "v3.qcow2",
    });
    const [here, there] = [path.join(folder, "here.lime"), path.join(folder, "there.lime")];
    const how = ["--to", "lime", "--snapshot", "snap1"];
    expect((await run("extract", ...how, file, here)).status).toBe(0);
    const remote = await run("extract", ...how, address("x", "moved"), there);
    expect(remote.stderr).toMatch(/requests, .* of 14\.\d MiB/);
    expect(remote.status).toBe(0);
    expect(Buffer.compare(fs.readFileSync(here), fs.readFileSync(there))).toBe(0);
  });

  it("doesn't read all of a large guest to look for a kernel", async () => {
    const save = path.join(folder, "large.save");
    writeXenSave(save, { pages: 2 ** 18, order: "ascending", sparse: true });
    const { status, stdout, stderr } = await run("inspect", address("large.save"));
    expect(status).toBe(0);
    expect(stdout).toMatch(/memory +1\.0 GiB/);
    expect(stdout).toContain("its memory isn't searched for a kernel");
    expect(stderr).toMatch(/requests, \d+\.\d MiB of 1\.0/);
    expect((await run("inspect", save)).stdout).not.toContain("isn't searched");
  });

  it("says what isn't there", async () => {
    const { status, stderr } = await run("inspect", address("nothing"));
    expect([status, stderr]).toEqual([2, expect.stringMatching(/answered 404 Not Found \[http\/404\]/)]);
  });
});
