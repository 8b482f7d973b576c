import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DebugInfo } from "../../src/dwarf/index.js";
import { findDebugFiles } from "../../src/elf/debug-file.js";
import { ElfFile } from "../../src/elf/file.js";
import { bytesSource } from "../../src/io/byte-source.js";
import { FormatError } from "../../src/findings/errors.js";
import { nodeDebugFiles, openFile } from "../../src/io/node/index.js";
import { hasProgram, scratch, skipUnless } from "../shared.js";

const HEADER = `
#include <stdbool.h>
struct far_away;
struct inner { char c; int x; };
struct outer {
  int a;
  struct { long in_anon; union { int u1; char u2[8]; }; };
  short arr[5][3];
  volatile struct inner nested;
  const char *const *ptr;
  void (*cb)(int);
  __int128 wide;
  bool flag;
  unsigned bits : 3;
};
extern struct outer global_struct;
extern struct far_away *plain;
`;
const FIRST = `
#include "shapes.h"
struct outer global_struct = {1};
static int file_static = 5;
struct far_away *plain;
int func(int n) { static long inner = 3; inner += n + file_static; return inner; }
int other(void);
int main(int argc, char **argv) { return func(argc) + other() + global_struct.a; }
`;
const SECOND = `
#include "shapes.h"
struct far_away { long pad[3]; int far; };
static char second_static = 1;
static struct far_away one;
int other(void) { plain = &one; return global_struct.a + second_static + plain->far; }
`;

const { folder, cleanup } = scratch();
afterAll(cleanup);
let serial = 0;

function run(program: string, args: readonly string[], cwd: string): string {
  return execFileSync(program, args, {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
    timeout: 60_000,
  });
}

/** Compiles the program with some options; returns its path. */
const compile = (...options: string[]): string => compileBy("gcc", ...options);

function compileBy(compiler: "gcc" | "clang", ...options: string[]): string {
  serial += 1;
  const own = path.join(folder, `p${serial}`);
  fs.mkdirSync(own);
  for (const [name, text] of [
    ["shapes.h", HEADER],
    ["first.c", FIRST],
    ["second.c", SECOND],
  ] as const) {
    fs.writeFileSync(path.join(own, name), text);
  }
  run(compiler, [...options, "-c", "first.c", "second.c"], own);
  run(compiler, [...options, "first.o", "second.o", "-o", "program"], own);
  return path.join(own, "program");
}

async function openInfo(program: string): Promise<DebugInfo> {
  const files = await findDebugFiles(nodeDebugFiles({}), { exe: program });
  return DebugInfo.open(files.debug, {
    ...(files.alternate === undefined ? {} : { alternate: files.alternate }),
    ...(files.package === undefined ? {} : { package: files.package }),
    openSplit: (name, directory) => files.openSplit(name, directory),
  });
}

/** Everything that the program's source says, with addresses by its symbol table. */
async function check(program: string): Promise<DebugInfo> {
  const info = await openInfo(program);
  const symbols = await (await ElfFile.open(openFile(program))).symbols();
  const addressOf = (name: string): bigint | undefined => symbols.find(name)?.address;
  expect(info.variable("global_struct")?.address).toBe(addressOf("global_struct"));
  expect(info.variable("global_struct")?.external).toBe(true);
  expect(info.variable("file_static")?.address).toBe(addressOf("file_static"));
  expect(info.variable("file_static")?.external).toBe(false);
  expect(info.variable("func::inner")?.address).toBe(addressOf("inner.0") ?? addressOf("func.inner"));
  expect(info.variable("inner")).toBeUndefined();
  expect(info.variable("argc")).toBeUndefined();
  expect(info.variable("absent")).toBeUndefined();
  expect(String(info.externalType("plain"))).toBe("struct far_away *");
  expect(info.externalType("global_struct")?.size).toBe(112);
  for (const unseen of ["file_static", "inner", "argc", "absent"]) {
    expect(info.externalType(unseen)).toBeUndefined();
  }
  const pointer = info.variable("plain");
  expect(pointer?.address).toBe(addressOf("plain"));
  expect(String(pointer?.type)).toBe("struct far_away *");
  expect(pointer?.type.target.field("far")).toMatchObject({ offset: 24, size: 4 });
  const outer = info.type("structure", "outer");
  const fields = ["a", "in_anon", "u1", "u2", "arr", "nested.x", "ptr", "cb", "wide", "flag", "absent"];
  expect(outer?.size).toBe(112);
  expect(fields.map((field) => [field, outer?.field(field)?.offset, outer?.field(field)?.size])).toEqual([
    ["a", 0, 4],
    ["in_anon", 8, 8],
    ["u1", 16, 4],
    ["u2", 16, 8],
    ["arr", 24, 30],
    ["nested.x", 60, 4],
    ["ptr", 64, 8],
    ["cb", 72, 8],
    ["wide", 80, 16],
    ["flag", 96, 1],
    ["absent", undefined, undefined],
  ]);
  expect(outer?.field("arr")?.type.length).toBe(15);
  expect(outer?.field("flag")?.type.encoding).toBe(2);
  expect(() => outer?.field("bits")).toThrow(expect.objectContaining({ code: "dwarf/bit-field" }));
  return info;
}

/** Changes every byte of a section that only helps to find: what is found stays the same, or an error tells why not. */
async function damageSection(program: string, name: string): Promise<void> {
  const bytes = fs.readFileSync(program);
  const section = await (await ElfFile.open(openFile(program))).section(name);
  const truth = (await openInfo(program)).variable("global_struct")?.address;
  const { offset = 0, size = 0 } = section ?? {};
  expect(size).toBeGreaterThan(100);
  for (let at = offset; at < offset + size; at += 1) {
    // empty places of hash tables are many and alike
    if (bytes[at] === 0 && at % 16 !== 0) continue;
    for (const value of [0, 0xff, (bytes[at] ?? 0) ^ 1]) {
      const damaged = Uint8Array.from(bytes);
      damaged[at] = value;
      const info = await DebugInfo.open(await ElfFile.open(bytesSource(damaged, program)));
      try {
        expect(info.variable("global_struct")?.address).toBe(truth);
        expect(info.type("structure", "far_away")?.size).toBe(32);
      } catch (error) {
        expect(error).toBeInstanceOf(FormatError);
      }
    }
  }
}

describe.skipIf(skipUnless(hasProgram("gcc"), "gcc"))("programs that gcc compiles", () => {
  for (const options of [
    "-gdwarf-2 -gstrict-dwarf",
    "-gdwarf-3",
    "-gdwarf-4",
    "-gdwarf-5",
    "-gdwarf-5 -gdwarf64",
    "-gdwarf-4 -gdwarf64",
    "-gdwarf-4 -fdebug-types-section",
    "-gdwarf-5 -fdebug-types-section",
    "-gdwarf-5 -no-pie",
    "-gdwarf-4 -gsplit-dwarf",
    "-gdwarf-5 -gsplit-dwarf",
    "-gdwarf-4 -gsplit-dwarf -fdebug-types-section",
    "-gdwarf-5 -gsplit-dwarf -fdebug-types-section",
    "-gdwarf-5 -gsplit-dwarf -gdwarf64",
  ]) {
    it(options, async () => {
      const info = await check(compile(...options.split(" ")));
      expect(info.files.length).toBe(options.includes("split") ? 3 : 1);
      expect(info.missingSplit).toEqual([]);
    });
  }

  it("split units that are not there are listed", async () => {
    const program = compile("-gdwarf-5", "-gsplit-dwarf");
    fs.rmSync(path.join(path.dirname(program), "first.dwo"));
    const info = await openInfo(program);
    expect(info.missingSplit).toEqual(["first.dwo"]);
    expect(() => info.variable("func::inner")).toThrow(
      expect.objectContaining({ code: "dwarf/split-missing", message: expect.stringContaining("first.dwo") }),
    );
    expect(info.type("structure", "far_away")?.size).toBe(32);
  });

  it("a .dwo of another build is refused", async () => {
    const [program, other] = [
      compile("-gdwarf-5", "-gsplit-dwarf"),
      compile("-gdwarf-5", "-gsplit-dwarf", "-O2"),
    ];
    fs.copyFileSync(
      path.join(path.dirname(other), "first.dwo"),
      path.join(path.dirname(program), "first.dwo"),
    );
    await expect(openInfo(program)).rejects.toMatchObject({ code: "dwarf/split" });
  });

  for (const types of [[], ["-fdebug-types-section"]]) {
    it.skipIf(skipUnless(hasProgram("dwp"), "dwp"))(
      `a package of split units ${types.join("")}`,
      async () => {
        const program = compile("-gdwarf-4", "-gsplit-dwarf", ...types);
        const own = path.dirname(program);
        run("dwp", ["-e", "program", "-o", "program.dwp"], own);
        for (const name of ["first.dwo", "second.dwo"]) fs.rmSync(path.join(own, name));
        const info = await check(program);
        expect(info.files.length).toBe(2);
      },
    );
  }

  describe.skipIf(skipUnless(hasProgram("gdb-add-index"), "gdb-add-index"))("with an index", () => {
    for (const [options, section] of [
      [[], ".gdb_index"],
      [["-dwarf-5"], ".debug_names"],
    ] as const) {
      it(section, async () => {
        const program = compile("-gdwarf-5");
        run("gdb-add-index", [...options, program], path.dirname(program));
        const elf = await ElfFile.open(openFile(program));
        expect(await elf.section(section)).toBeDefined();
        await check(program);
        await damageSection(program, section);
      });
    }
  });

  describe.skipIf(skipUnless(hasProgram("dwz"), "dwz"))("after dwz", () => {
    let programs: string[] = [];
    beforeAll(() => {
      programs = [compile("-gdwarf-5"), compile("-gdwarf-4")];
    });
    it("one file", async () => {
      const program = compile("-gdwarf-5");
      run("dwz", [program], path.dirname(program));
      await check(program);
    });
    it("a common file, in GNU forms", async () => {
      run(
        "dwz",
        ["-m", path.join(folder, "common.debug"), "-M", path.join(folder, "common.debug"), ...programs],
        folder,
      );
      for (const program of programs) {
        const info = await check(program);
        expect(info.files.length).toBe(2);
      }
    });
    it("a common file that is missing is told by name and build id", async () => {
      fs.rmSync(path.join(folder, "common.debug"));
      const info = await openInfo(programs[0] ?? "");
      expect(
        () => info.type("structure", "outer")?.field("nested.x") ?? info.variable("global_struct"),
      ).toThrow(
        expect.objectContaining({
          code: "dwarf/alternate-missing",
          message: expect.stringMatching(/common\.debug \(build id [0-9a-f]{40}\)/),
        }),
      );
    });
    it("a common file in the forms of DWARF 5", async () => {
      const pair = [compile("-gdwarf-5"), compile("-gdwarf-5", "-no-pie")];
      run(
        "dwz",
        [
          "--dwarf-5",
          "-m",
          path.join(folder, "common5.debug"),
          "-M",
          path.join(folder, "common5.debug"),
          ...pair,
        ],
        folder,
      );
      for (const program of pair) {
        const info = await check(program);
        expect(info.files.length).toBe(2);
      }
    });
  });

  describe.skipIf(skipUnless(hasProgram("objcopy"), "objcopy"))("separate and compressed debug files", () => {
    for (const method of ["zlib", "zlib-gnu", "zstd"]) {
      it(`sections compressed by ${method}`, async () => {
        // padding makes the sections large enough that compression pays
        const program = compile("-gdwarf-5", "-g3");
        run("objcopy", [`--compress-debug-sections=${method}`, program], path.dirname(program));
        const sections = await (await ElfFile.open(openFile(program))).sections();
        expect(sections.some((section) => ElfFile.isCompressed(section))).toBe(true);
        await check(program);
      });
    }
  });
});

describe.skipIf(skipUnless(hasProgram("clang"), "clang"))("programs that clang compiles", () => {
  for (const options of [
    "-gdwarf-2",
    "-gdwarf-4",
    "-gdwarf-5",
    "-gdwarf-5 -no-pie",
    "-gdwarf-5 -gdwarf64",
    "-gdwarf-5 -gpubnames",
    "-gdwarf-5 -fdebug-types-section",
    "-gdwarf-4 -gsplit-dwarf",
    "-gdwarf-5 -gsplit-dwarf",
    "-gdwarf-5 -gsplit-dwarf=single",
    "-gdwarf-5 -gsplit-dwarf -gpubnames",
    "-gdwarf-5 -gsplit-dwarf -fdebug-types-section",
  ]) {
    it(options, async () => {
      const program = compileBy("clang", ...options.split(" "));
      const info = await check(program);
      expect(info.files.length).toBe(options.includes("split") ? 3 : 1);
      expect(info.missingSplit).toEqual([]);
      const names = await (await ElfFile.open(openFile(program))).section(".debug_names");
      expect(names !== undefined).toBe(options.includes("pubnames"));
      if (options === "-gdwarf-5 -gpubnames") await damageSection(program, ".debug_names");
    });
  }

  for (const [program, version] of [
    ["llvm-dwp", 4],
    ["llvm-dwp", 5],
    ["dwp", 4],
  ] as const) {
    for (const types of [[], ["-fdebug-types-section"]]) {
      const title = `a package made by ${program} of version ${version} ${types.join("")}`;
      it.skipIf(skipUnless(hasProgram(program), program))(title, async () => {
        const path_ = compileBy("clang", `-gdwarf-${version}`, "-gsplit-dwarf", ...types);
        const own = path.dirname(path_);
        run(program, ["-e", "program", "-o", "program.dwp"], own);
        for (const name of ["first.dwo", "second.dwo"]) fs.rmSync(path.join(own, name));
        expect((await check(path_)).files.length).toBe(2);
      });
    }
  }
});
