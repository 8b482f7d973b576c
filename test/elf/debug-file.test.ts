import * as fs from "node:fs";
import * as http from "node:http";
import type { AddressInfo } from "node:net";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { buildIdPath, findDebugFiles } from "../../src/elf/debug-file.js";
import { encodeNote } from "../../src/elf/notes.js";
import { crc32 } from "../../src/io/codecs/checksums.js";
import { nodeDebugFiles } from "../../src/io/node/index.js";
import { scratch } from "../shared.js";
import { buildElf, type SectionDescription } from "./elf-writer.js";

const { folder, cleanup } = scratch();
afterAll(cleanup);

const ID = "0123456789abcdef";
const OTHER = "fedcba9876543210";
const bytesOf = (id: string): Uint8Array =>
  Uint8Array.from(id.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function elf(options: { id?: string; debug?: boolean; more?: readonly SectionDescription[] }): Uint8Array {
  const { id, debug = false, more = [] } = options;
  return buildElf({
    type: 3,
    sections: [
      ...(id === undefined
        ? []
        : [{ name: ".note.gnu.build-id", type: 7, data: encodeNote("GNU", 3, bytesOf(id), "little") }]),
      ...(debug ? [{ name: ".debug_info", data: text("anything") }] : []),
      ...more,
    ],
  });
}

let serial = 0;
/** Writes files into a new folder; returns its path. */
function tree(files: Readonly<Record<string, Uint8Array>>): string {
  serial += 1;
  const root = path.join(folder, `t${serial}`);
  for (const [name, bytes] of Object.entries(files)) {
    const file = path.join(root, name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(file, bytes);
  }
  return root;
}

function debugLink(name: string, debug: Uint8Array): SectionDescription {
  const padded = new Uint8Array(Math.ceil((name.length + 1) / 4) * 4 + 4);
  padded.set(text(name));
  new DataView(padded.buffer).setUint32(padded.length - 4, crc32(debug), true);
  return { name: ".gnu_debuglink", data: padded };
}

const access = nodeDebugFiles({});

describe("finding debug files", () => {
  it("a program with debug info is its own", async () => {
    const root = tree({ program: elf({ id: ID, debug: true }) });
    const found = await findDebugFiles(access, { exe: `${root}/program`, buildId: ID });
    expect([found.debug.name, found.program?.name]).toEqual([`${root}/program`, `${root}/program`]);
  });

  it("by build id, without the program", async () => {
    const root = tree({ [buildIdPath("lib", ID)]: elf({ id: ID, debug: true }) });
    const query = {
      programPath: "/no/such/program (deleted)",
      buildId: ID,
      debugDirs: [`${root}/none`, `${root}/lib`],
    };
    expect((await findDebugFiles(access, query)).debug.name).toBe(buildIdPath(`${root}/lib`, ID));
  });

  it("by .gnu_debuglink: beside, in .debug, below the debug directory; the checksum counts", async () => {
    const debug = elf({ debug: true });
    const program = elf({ more: [debugLink("p.debug", debug)] });
    for (const place of ["bin/p.debug", "bin/.debug/p.debug"]) {
      const root = tree({ "bin/program": program, [place]: debug });
      expect((await findDebugFiles(access, { exe: `${root}/bin/program` })).debug.name).toBe(
        `${root}/${place}`,
      );
    }
    const root = tree({
      "bin/program": program,
      "bin/p.debug": elf({ debug: true, more: [{ name: ".x", data: text("y") }] }),
    });
    fs.mkdirSync(`${root}/lib${root}/bin`, { recursive: true });
    const query = { exe: `${root}/bin/program`, debugDirs: [`${root}/lib`] };
    await expect(findDebugFiles(access, query)).rejects.toMatchObject({
      hints: expect.arrayContaining([expect.stringContaining("CRC")]),
    });
    fs.writeFileSync(`${root}/lib${root}/bin/p.debug`, debug);
    expect((await findDebugFiles(access, query)).debug.name).toBe(`${root}/lib${root}/bin/p.debug`);
  });

  it("a given file of another build is refused with both ids", async () => {
    const root = tree({ program: elf({ id: OTHER, debug: true }), plain: elf({ id: ID }) });
    for (const query of [{ exe: `${root}/program` }, { debugFile: `${root}/program` }]) {
      await expect(findDebugFiles(access, { ...query, buildId: ID })).rejects.toMatchObject({
        code: "debug-file/build-id",
        message: `has build id ${OTHER}, the program of the core has ${ID}`,
      });
    }
    await expect(findDebugFiles(access, { debugFile: `${root}/plain`, buildId: ID })).rejects.toMatchObject({
      code: "debug-file/none",
    });
    await expect(findDebugFiles(access, { debugFile: `${root}/absent` })).rejects.toMatchObject({
      code: "debug-file/none",
      message: "no such file",
    });
  });

  it("a program of another build at the core's path is passed over, and told", async () => {
    const root = tree({ program: elf({ id: OTHER, debug: true }) });
    const query = { programPath: `${root}/program`, buildId: ID, debugDirs: [root] };
    await expect(findDebugFiles(access, query)).rejects.toMatchObject({
      code: "debug-file/none",
      message: expect.stringContaining(ID),
      hints: expect.arrayContaining([
        expect.stringContaining(`another build, id ${OTHER}`),
        expect.stringContaining("-dbgsym"),
        expect.stringContaining("DEBUGINFOD_URLS"),
      ]),
    });
  });

  it("the common file of dwz, beside or by build id", async () => {
    const link = {
      name: ".gnu_debugaltlink",
      data: Uint8Array.from([...text("../common.debug\0"), ...bytesOf(OTHER)]),
    };
    const program = elf({ id: ID, debug: true, more: [link] });
    const common = elf({ id: OTHER, debug: true });
    const beside = tree({ "bin/program": program, "common.debug": common });
    const found = await findDebugFiles(access, { exe: `${beside}/bin/program` });
    expect(found.alternate?.name).toBe(`${beside}/bin/../common.debug`);
    const wrong = tree({
      "bin/program": program,
      "common.debug": elf({ id: ID, debug: true }),
      [buildIdPath("lib", OTHER)]: common,
    });
    const query = { exe: `${wrong}/bin/program`, debugDirs: [`${wrong}/lib`] };
    expect((await findDebugFiles(access, query)).alternate?.name).toBe(buildIdPath(`${wrong}/lib`, OTHER));
    fs.rmSync(buildIdPath(`${wrong}/lib`, OTHER));
    expect((await findDebugFiles(access, query)).alternate).toBeUndefined();
  });
});

describe("debuginfod", () => {
  it("is asked once, then its cache answers; an unknown id and a dead server are no files", async () => {
    const requests: string[] = [];
    const server = http.createServer((request, response) => {
      requests.push(request.url ?? "");
      const known = request.url === `/buildid/${ID}/debuginfo`;
      response.writeHead(known ? 200 : 404);
      response.end(known ? elf({ id: ID, debug: true }) : "");
    });
    await new Promise<void>((resolve) => {
      server.listen(0, "127.0.0.1", resolve);
    });
    try {
      const { port } = server.address() as AddressInfo;
      const cache = path.join(folder, "cache");
      const remote = nodeDebugFiles({
        DEBUGINFOD_URLS: `http://127.0.0.1:1 http://127.0.0.1:${port}/`,
        DEBUGINFOD_CACHE_PATH: cache,
      });
      const query = { programPath: "/no/such/program", buildId: ID, debugDirs: [] };
      for (let i = 0; i < 2; i += 1) {
        expect((await findDebugFiles(remote, query)).debug.name).toBe(path.join(cache, ID, "debuginfo"));
      }
      expect(requests).toEqual([`/buildid/${ID}/debuginfo`]);
      await expect(findDebugFiles(remote, { ...query, buildId: OTHER })).rejects.toMatchObject({
        code: "debug-file/none",
        hints: expect.arrayContaining([expect.stringContaining("debuginfod: has none")]),
      });
      expect(fs.readdirSync(cache)).toEqual([ID]);
    } finally {
      server.close();
      server.closeAllConnections();
    }
  });
});
