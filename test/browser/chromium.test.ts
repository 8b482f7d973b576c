import { spawn } from "node:child_process";
import * as fs from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import * as path from "node:path";
import { gunzipSync } from "node:zlib";
import { build } from "esbuild";
import { afterAll, describe, expect, it } from "vitest";
import { fixtures, gunzipText, hasProgram, projectRoot, runCli, scratch, skipUnless } from "../shared.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

/** What the page does with the package: the whole way from a Blob to a page of memory. */
const PAGE = `import { blobSource, openGuest, verify, VERSION } from ${JSON.stringify(path.join(projectRoot, "dist/index.js"))};
const tell = (text) => fetch("/report?text=" + encodeURIComponent(text));
window.onunhandledrejection = ({ reason }) => tell(String(reason?.stack ?? reason));
const source = blobSource(await (await fetch("/save")).blob(), "save");
const { report } = await verify(source);
const guest = await openGuest(source);
const page = new Uint8Array(4096);
const got = await guest.memory.read(0x100000, page);
const sum = page.reduce((a, b) => (a * 31 + b) >>> 0, 0);
await tell(JSON.stringify({ version: VERSION, verdict: report.verdict, name: guest.facts.name, got, sum }));
`;

/** A Linux guest's own account of itself, in a page. */
const LINUX_PAGE = `import { blobSource, openGuest } from ${JSON.stringify(path.join(projectRoot, "src/index.ts"))};
import { formatLogRecord, listTasks, logSourceOf, openKernel, processMemory, readLog, systemOf, } from ${JSON.stringify(path.join(projectRoot, "src/linux/index.ts"))};
const tell = (text) => fetch("/report", { method: "POST", body: text });
window.onunhandledrejection = ({ reason }) => tell(String(reason?.stack ?? reason));
const guest = await openGuest(blobSource(await (await fetch("/save")).blob(), "save"));
const kernel = await openKernel(guest);
const tasks = [];
for await (const task of listTasks(kernel, { threads: true })) {
  const { commandLine = [] } = await processMemory(kernel, task);
  tasks.push([task.pid, task.comm, commandLine]);
}
const log = [];
for await (const record of readLog(await logSourceOf(guest))) log.push(formatLogRecord(record, {}));
const { hostName, release } = await systemOf(kernel);
await tell(JSON.stringify({ tasks, log: log.join("\\n") + "\\n", hostName, release, troubles: kernel.troubles }));
`;

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Serves the page, the bundle and a save; resolves with what the page reports. */
async function reportOfPage(bundle: string, save: Uint8Array): Promise<string> {
  const files: Readonly<Record<string, [type: string, body: string | Uint8Array]>> = {
    "/": ["text/html", `<!doctype html><script type="module" src="/bundle.js"></script>`],
    "/bundle.js": ["text/javascript", bundle],
    "/save": ["application/byte-stream", save],
  };
  const { promise, resolve } = withResolvers<string>();
  const server = http.createServer((request, response) => {
    const url = new URL(request.url ?? "/", "http://localhost");
    if (url.pathname === "/report" && request.method === "POST") {
      const parts: Buffer[] = [];
      request.on("data", (part: Buffer) => parts.push(part));
      request.on("end", () => resolve(Buffer.concat(parts).toString("utf8")));
    } else if (url.pathname === "/report") resolve(url.searchParams.get("text") ?? "");
    const [type, body] = files[url.pathname] ?? ["text/plain", ""];
    response.setHeader("content-type", type).end(body);
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const { port } = server.address() as AddressInfo;
  const profile = path.join(folder, "profile");
  const url = `http://127.0.0.1:${port}/`;
  const browser = spawn(
    "chromium",
    [...FLAGS, `--user-data-dir=${profile}`, "--remote-debugging-port=0", url],
    {
      stdio: "ignore",
    },
  );
  try {
    return await promise;
  } finally {
    browser.kill("SIGTERM");
    await new Promise((gone) => browser.once("exit", gone));
    server.close();
  }
}

function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

async function bundled(contents: string): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: projectRoot },
    bundle: true,
    platform: "browser",
    format: "esm",
    write: false,
  });
  return outputFiles[0]?.text ?? "";
}

describe("entry points of the package", () => {
  const { exports } = JSON.parse(fs.readFileSync(path.join(projectRoot, "package.json"), "utf8")) as {
    exports: Record<string, { default: string }>;
  };
  const entries = Object.entries(exports).flatMap(([name, { default: file }]) =>
    name === "./node" || !file.endsWith(".js") ? [] : [[name, file] as const],
  );

  it.each(entries)("%s reaches nothing of Node", async (_, file) => {
    const source = path.join(projectRoot, file.replace("./dist/", "src/").replace(/\.js$/, ".ts"));
    // anything that a browser lacks is an error of the bundler's
    const { metafile } = await build({
      entryPoints: [source],
      bundle: true,
      platform: "browser",
      format: "esm",
      write: false,
      metafile: true,
      logLevel: "silent",
    });
    const reached = Object.values(metafile.inputs).flatMap(({ imports }) => imports);
    expect(reached.length).toBeGreaterThan(3);
    expect(
      reached.filter(({ external, path: name }) => external === true || name.startsWith("node:")),
    ).toEqual([]);
  });
});

describe.skipIf(skipUnless(hasProgram("chromium"), "chromium"))("in a browser", () => {
  it("a saved guest is verified and opened from a Blob", async () => {
    const legacy = path.join(folder, "web01.legacy");
    const save = path.join(folder, "web01.save");
    fs.writeFileSync(
      legacy,
      gunzipSync(fs.readFileSync(path.join(projectRoot, "test/fixtures/demo/web01.legacy.gz"))),
    );
    expect(runCli(["convert", "-q", legacy, save]).status).toBe(0);
    const report = JSON.parse(await reportOfPage(await bundled(PAGE), fs.readFileSync(save))) as object;
    expect(report).toMatchObject({ verdict: "valid", name: "legacy-hvm64-remus-xl", got: 4096 });
  });

  it("a Linux guest lists its tasks and its log from a Blob", async () => {
    const elf = path.join(folder, "linux.elf");
    expect(runCli(["extract", "-q", path.join(fixtures, "linux/la57-7.2.elf.xz"), elf]).status).toBe(0);
    const report = JSON.parse(await reportOfPage(await bundled(LINUX_PAGE), fs.readFileSync(elf))) as {
      tasks: [number, string, string[]][];
    };
    const { tasks } = JSON.parse(gunzipText(path.join(fixtures, "linux/la57-7.2.tasks.json.gz"))) as {
      tasks: { pid: number; comm: string; cmdline: string[] }[];
    };
    expect(report.tasks.sort(([a], [b]) => a - b)).toEqual(
      tasks.map(({ pid, comm, cmdline }) => [pid, comm, cmdline]).sort(([a], [b]) => Number(a) - Number(b)),
    );
    expect(report).toMatchObject({
      log: gunzipText(path.join(fixtures, "linux/la57-7.2.dmesg.txt.gz")),
      troubles: [],
    });
  });
});
