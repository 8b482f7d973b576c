import * as fs from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import * as path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fixtureSaves } from "../bench/saves.js";
import { core, filesIn, fleet, fleetProgram, resultsIn, scratch, start, until } from "./harness.js";

/** An object store: GET with Range and ETag, and only for who knows the signature of GET. */
let server: Server;
let origin: string;
let folder: string;
let cleanup: () => void;
const objects = new Map<string, Buffer>();
const requests: { method: string; path: string }[] = [];
let answer: (request: IncomingMessage, response: ServerResponse) => boolean;

beforeEach(async () => {
  ({ folder, cleanup } = scratch());
  objects.clear();
  requests.length = 0;
  answer = () => false;
  server = createServer((request, response) => {
    const url = new URL(request.url ?? "", "http://x");
    requests.push({ method: request.method ?? "", path: url.pathname });
    if (answer(request, response)) return;
    const bytes = objects.get(url.pathname);
    const refuse = request.method !== "GET" || url.searchParams.get("X-Amz-Signature") !== "secret";
    if (refuse || bytes === undefined) {
      response.writeHead(refuse ? 403 : 404).end();
      return;
    }
    const etag = `"${bytes.length}-${bytes.at(-1)}"`;
    if (request.headers.range === "bytes=0-0")
      response
        .writeHead(206, { "content-range": `bytes 0-0/${bytes.length}`, "content-length": 1, etag })
        .end(bytes.subarray(0, 1));
    else response.writeHead(200, { "content-length": bytes.length, etag }).end(bytes);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  cleanup();
});

const signed = (name: string, date = "1"): string =>
  `${origin}${name}?X-Amz-Date=${date}&X-Amz-Signature=secret`;
const verify = async (list: string[]): Promise<{ status: number | null; stdout: string; stderr: string }> =>
  fleet(["submit", "verify", "--local", "--json", "--list", "-"], { cwd: folder, input: list.join("\n") });

describe("sources behind URLs", () => {
  it("are verified by a list of signed URLs, known again by a new signature, and their secrets are not reported", async () => {
    const [save] = fixtureSaves().filter(({ bytes }) => bytes.length < 1 << 20);
    objects.set("/saves/a.save", save?.bytes ?? Buffer.alloc(0));
    objects.set("/saves/b.save", Buffer.from("no saved guest"));
    const first = await verify([signed("/saves/a.save"), signed("/saves/b.save")]);
    expect(first.status).toBe(1);
    expect(JSON.parse(first.stdout)).toMatchObject({ inputs: 2, good: 1, bad: 1, known: 0 });
    const again = await verify([signed("/saves/a.save", "2"), signed("/saves/b.save", "2")]);
    expect(JSON.parse(again.stdout)).toMatchObject({ inputs: 2, known: 2 });
    objects.set("/saves/b.save", Buffer.from("something else"));
    expect(JSON.parse((await verify([signed("/saves/b.save")])).stdout)).toMatchObject({
      inputs: 1,
      known: 0,
    });
    const results = await resultsIn(path.join(folder, "guestscope-reports"));
    expect(results.map(({ source }) => source).sort()).toEqual([
      `${origin}/saves/a.save`,
      `${origin}/saves/b.save`,
      `${origin}/saves/b.save`,
    ]);
    expect(JSON.stringify(results)).not.toContain("secret");
    expect(requests.every(({ method }) => method === "GET")).toBe(true);
    const file = path.join(folder, "a.save");
    fs.writeFileSync(file, save?.bytes ?? "");
    const { inputs } = JSON.parse((await core(["verify", "--json", file])).stdout) as {
      inputs: { verdict: string }[];
    };
    expect(results.find(({ source }) => source.endsWith("a.save"))?.verdict).toBe(inputs[0]?.verdict);
  });

  it("that can't be had are said, without their secrets", async () => {
    objects.set("/there", Buffer.from("no saved guest"));
    const { status, stderr, stdout } = await verify([
      signed("/missing"),
      `${origin}/there?X-Amz-Signature=guess`,
      "http://127.0.0.1:9/unreachable?X-Amz-Signature=secret",
      signed("/there"),
    ]);
    expect(status).toBe(2);
    expect(stderr).toContain(`${origin}/missing: the server answers 404`);
    expect(stderr).toContain(`${origin}/there: the server answers 403`);
    expect(stderr).toMatch(
      /http:\/\/127\.0\.0\.1:9\/unreachable: can't be reached: .* \[http\/unreachable\]/,
    );
    expect(stderr).not.toMatch(/secret|guess/);
    expect(JSON.parse(stdout)).toMatchObject({ inputs: 1, bad: 1 });
  });

  it.each<[string, (response: ServerResponse, bytes: Buffer) => void, string]>([
    [
      "change meanwhile",
      (response, bytes) => response.writeHead(200, { etag: '"new"' }).end(bytes),
      "fleet/source-changed",
    ],
    [
      "are cut off",
      (response, bytes) =>
        response
          .writeHead(200, { etag: '"old"', "content-length": bytes.length })
          .write(bytes.subarray(0, 9), () => response.destroy()),
      "http/broken",
    ],
    [
      "are shorter than was said",
      (response, bytes) => response.writeHead(200, { etag: '"old"' }).end(bytes.subarray(0, 9)),
      "http/broken",
    ],
    ["never end", (response) => flood(response.writeHead(200, { etag: '"old"' })), "http/broken"],
    ["are refused", (response) => response.writeHead(503).end(), "http/503"],
  ])("that %s end as failed", async (_, respond, code) => {
    const bytes = Buffer.alloc(5000, 1);
    answer = (request, response) => {
      if (request.headers.range !== undefined)
        response
          .writeHead(206, { "content-range": `bytes 0-0/${bytes.length}`, etag: '"old"' })
          .end(bytes.subarray(0, 1));
      else respond(response, bytes);
      return true;
    };
    const spool = path.join(folder, "spool");
    fs.mkdirSync(spool);
    const { status } = await fleet(
      ["submit", "verify", "--local", "--quiet", "--spool-dir", spool, `${origin}/x`],
      { cwd: folder },
    );
    expect(status).toBe(2);
    const [result] = await resultsIn(path.join(folder, "guestscope-reports"));
    expect(result).toMatchObject({ status: "failed", fault: "system", findings: [{ code }] });
    expect(fs.readdirSync(spool)).toEqual([]);
  });
});

it("what a killed run had downloaded is removed by the next one", async () => {
  answer = (_, response) => {
    response.writeHead(206, { "content-range": "bytes 0-0/5000", etag: '"x"' }).write("x");
    return true;
  };
  const spool = path.join(folder, "spool");
  fs.mkdirSync(spool);
  const args = ["submit", "verify", "--local", "--quiet", "--spool-dir", spool];
  const run = start(fleetProgram, [...args, `${origin}/x`], { cwd: folder });
  await until(() => (filesIn(spool).length === 1 ? true : undefined));
  process.kill(run.pid, "SIGKILL");
  await run.ended;
  expect(filesIn(spool).length).toBe(1);
  await fleet([...args, path.join(folder, "nothing")], { cwd: folder });
  expect(fs.readdirSync(spool)).toEqual([]);
});

function flood(response: ServerResponse): void {
  const more = (): void => {
    while (!response.destroyed && response.write(Buffer.alloc(1 << 16)));
  };
  response.on("drain", more);
  more();
}
