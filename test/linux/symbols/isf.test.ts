import { describe, expect, it } from "vitest";
import { MemorySink } from "../../../src/io/byte-sink.js";
import { openKernel } from "../../../src/linux/kernel.js";
import { writeIsf } from "../../../src/linux/symbols/isf.js";
import { writeKallsyms } from "../../../src/linux/symbols/kallsyms-text.js";
import { findMember } from "../../../src/linux/types.js";
import { GUESTS, openFixture } from "../fixture.js";

interface Descriptor {
  readonly kind: string;
  readonly name?: string;
  readonly subtype?: Descriptor;
  readonly type?: Descriptor;
}

interface SymbolFile {
  readonly metadata: { readonly format: string };
  readonly base_types: Record<string, { readonly size: number }>;
  readonly user_types: Record<
    string,
    {
      readonly size: number;
      readonly fields: Record<string, { readonly offset: number; readonly type: Descriptor }>;
    }
  >;
  readonly enums: Record<string, { readonly base: string; readonly constants: Record<string, number> }>;
  readonly symbols: Record<string, { readonly type?: Descriptor; readonly constant_data?: string }>;
}

/** Descriptors in a descriptor, itself first. */
function* parts(type: Descriptor): Iterable<Descriptor> {
  yield type;
  for (const inner of [type.subtype, type.type]) if (inner !== undefined) yield* parts(inner);
}

const text = (sink: MemorySink): string => Buffer.from(sink.bytes()).toString("utf8");

describe.each(GUESTS)("volatility3's symbol file of %s", (name) => {
  it("describes the kernel's types and names only types that it has", async () => {
    const guest = await openFixture(name);
    const kernel = await openKernel(guest);
    const sink = new MemorySink();
    await writeIsf(kernel, sink);
    const file = JSON.parse(text(sink)) as SymbolFile;
    expect(file.metadata.format).toBe("6.2.0");
    const task = kernel.struct("task_struct");
    expect(file.user_types.task_struct?.size).toBe(task.size);
    for (const member of ["tasks", "pid", "comm", "mm", "real_parent"])
      expect(file.user_types.task_struct?.fields[member]?.offset).toBe(
        (findMember(task, member)?.bitOffset ?? 0) / 8,
      );
    const missing = new Set<string>();
    const check = (type: Descriptor): void => {
      for (const { kind, name: wanted = "" } of parts(type)) {
        const table =
          kind === "base"
            ? file.base_types
            : kind === "struct" || kind === "union"
              ? file.user_types
              : kind === "enum"
                ? file.enums
                : undefined;
        if (table !== undefined && !Object.hasOwn(table, wanted)) missing.add(`${kind} ${wanted}`);
      }
    };
    for (const { fields } of Object.values(file.user_types))
      for (const { type } of Object.values(fields)) check(type);
    for (const { type } of Object.values(file.symbols)) if (type !== undefined) check(type);
    for (const { base } of Object.values(file.enums)) check({ kind: "base", name: base });
    expect([...missing]).toEqual([]);
    expect(file.symbols.init_task?.type).toEqual({ kind: "struct", name: "task_struct" });
    const banner = Buffer.from(file.symbols.linux_banner?.constant_data ?? "", "base64").toString("latin1");
    expect(banner).toMatch(/^Linux version .*\n\0$/);
    expect(banner).toContain(kernel.release);
    await guest.close?.();
  });

  it("has a text of symbols as /proc/kallsyms beside it", async () => {
    const guest = await openFixture(name);
    const kernel = await openKernel(guest);
    const sink = new MemorySink();
    const count = await writeKallsyms(kernel, sink);
    const lines = text(sink).split("\n");
    expect(lines.length).toBe(count + 1);
    const stext = kernel.symbol("_stext")?.toString(16) ?? "";
    expect(lines).toContain(`${stext.padStart(16, "0")} T _stext`);
    await guest.close?.();
  });
});
