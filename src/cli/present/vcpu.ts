import type { VcpuSummary } from "../../guest/vcpu.js";
import { hex, tableLines } from "../terminal.js";
import type { PresentOptions, Section } from "./presenter.js";

type Registers = NonNullable<VcpuSummary["registers"]>;

const REGISTERS_A_LINE = 3;
const NAME_WIDTH = 6;

/** vCPUs: a table of where each was; all registers in blocks with `verbose`. */
export function vcpuSections(vcpus: readonly VcpuSummary[], { verbose }: PresentOptions): Section[] {
  if (verbose) return vcpus.map(vcpuSection);
  const rows = vcpus.map(({ id, registers, caveat }) => ({ id, caveat, main: mainRegisters(registers) }));
  const names = [...new Set(rows.flatMap(({ main }) => Object.keys(main ?? {})))];
  const right = (title: string): { title: string; align: "right" } => ({ title, align: "right" });
  const known = rows.filter(({ main }) => main !== undefined);
  const lines = tableLines(
    [right("id"), ...names.map(right)],
    known.map(({ id, main = {} }) => [String(id), ...names.map((name) => (main[name] ?? 0n).toString(16))]),
  );
  const caveats = rows.flatMap(({ id, main, caveat }) => {
    const text = caveat ?? (main === undefined ? "registers not known" : undefined);
    return text === undefined ? [] : [`vCPU ${id}: ${text}`];
  });
  return [{ title: "vCPUs", lines: [...(known.length === 0 ? [] : lines), ...caveats] }];
}

/** Where a vCPU was, and by which page tables; undefined where that isn't known. */
function mainRegisters(registers: Registers | undefined): Record<string, bigint> | undefined {
  switch (registers?.kind) {
    case undefined:
      return undefined;
    case "x86": {
      const { rip, rsp } = registers.general;
      const { cr0, cr3, cr4 } = registers.control;
      return withKnown({ rip, rsp, cr0, cr3, cr4 });
    }
    case "aarch64": {
      const { pc, sp, pstate, system } = registers;
      return withKnown({ pc, sp, pstate, ttbr1_el1: system["ttbr1_el1"] });
    }
    case "other": {
      const { pc, sp } = registers;
      return pc === undefined ? undefined : withKnown({ pc, sp });
    }
  }
}

const withKnown = (values: Record<string, bigint | undefined>): Record<string, bigint> =>
  Object.fromEntries(
    Object.entries(values).filter((entry): entry is [string, bigint] => entry[1] !== undefined),
  );

const padded = (value: bigint): string => value.toString(16).padStart(16, "0");

function registerRows(registers: Readonly<Record<string, bigint>>): string[] {
  const width = Object.keys(registers).reduce((most, name) => Math.max(most, name.length), NAME_WIDTH);
  const cells = Object.entries(registers).map(([name, value]) => `${name.padStart(width)} ${padded(value)}`);
  const perLine = width > NAME_WIDTH + 2 ? 2 : REGISTERS_A_LINE;
  const rows: string[] = [];
  for (let i = 0; i < cells.length; i += perLine) rows.push(cells.slice(i, i + perLine).join("  "));
  return rows;
}

/** A vCPU with all its registers. */
function vcpuSection({ id, registers, caveat }: VcpuSummary): Section {
  const title = `vCPU ${id}`;
  const lines = registers === undefined ? [] : registerLines(registers);
  const note = caveat ?? (lines.length === 0 ? "registers not known" : undefined);
  return { title, note, lines };
}

function registerLines(registers: Registers): string[] {
  switch (registers.kind) {
    case "x86": {
      const { general, control, debug, msrs, segments, gdt, idt } = registers;
      const table = (name: string, entry: { base: bigint; limit: number } | undefined): string[] =>
        entry === undefined
          ? []
          : [`${name.padStart(NAME_WIDTH)}      base ${padded(entry.base)} limit ${hex(entry.limit)}`];
      return [
        ...registerRows(general),
        ...registerRows(control),
        ...Object.entries(segments).map(
          ([name, s]) =>
            `${name.padStart(NAME_WIDTH)} ${s.selector.toString(16).padStart(4, "0")} base ${padded(s.base)} limit ${hex(s.limit)} flags ${hex(s.flags)}`,
        ),
        ...table("gdt", gdt),
        ...table("idt", idt),
        ...registerRows(debug),
        ...registerRows(msrs),
      ];
    }
    case "aarch64": {
      const { x, pc, sp, pstate, system } = registers;
      const general = Object.fromEntries(x.map((value, i) => [`x${i}`, value]));
      return [...registerRows({ ...general, sp, pc, pstate }), ...registerRows(system)];
    }
    case "other":
      return registerRows(registers.named);
  }
}
