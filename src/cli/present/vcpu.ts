import type { VcpuSummary } from "../../guest/vcpu.js";
import { hex, paint } from "../terminal.js";
import { indented, type PresentOptions } from "./presenter.js";

/** A vCPU in one line: the main registers; below it all others with `verbose`. */
export function vcpuLines(vcpu: VcpuSummary, options: PresentOptions): string[] {
  const { registers } = vcpu;
  if (registers === undefined) return [`vCPU ${vcpu.id}: registers not known`];
  const values = (record: Readonly<Record<string, bigint>>): string =>
    Object.entries(record)
      .map(([name, value]) => `${name} ${hex(value)}`)
      .join(", ");
  if (registers.kind !== "x86") {
    const { pc, sp } = registers;
    if (pc === undefined || sp === undefined) return [`vCPU ${vcpu.id}: registers of a form not known`];
    const head = `vCPU ${vcpu.id}: pc ${hex(pc)}, sp ${hex(sp)}`;
    if (!options.verbose) return [head];
    if (registers.kind === "other") return [head, ...indented([values(registers.named)])];
    const x = Object.fromEntries(registers.x.map((value, i) => [`x${i}`, value]));
    return [
      head,
      ...indented([values({ ...x, pstate: registers.pstate }), values(registers.system)].filter(Boolean)),
    ];
  }
  const { general, control, segments } = registers;
  const { rip, rsp } = general;
  const known = Object.entries(control).filter(([name]) => /^cr[034]$/.test(name));
  const head = `vCPU ${vcpu.id}: ${values({ rip, rsp, ...Object.fromEntries(known) })}`;
  if (!options.verbose) return [head];
  const parts = Object.entries(segments).map(
    ([name, s]) =>
      `${name} ${hex(s.selector)} base ${hex(s.base)} limit ${hex(s.limit)} flags ${hex(s.flags)}`,
  );
  return [head, ...indented([values(general), ...parts, values(registers.msrs)])];
}

const REGISTERS_A_LINE = 3;

const padded = (value: bigint): string => value.toString(16).padStart(16, "0");

function registerRows(registers: Readonly<Record<string, bigint>>): string[] {
  const cells = Object.entries(registers).map(([name, value]) => `${name.padStart(6)} ${padded(value)}`);
  const rows: string[] = [];
  for (let i = 0; i < cells.length; i += REGISTERS_A_LINE) {
    rows.push(cells.slice(i, i + REGISTERS_A_LINE).join("  "));
  }
  return rows;
}

/** A vCPU as a block: general and control registers in rows, all others with `verbose`. */
export function vcpuBlock({ id, registers, caveat }: VcpuSummary, { verbose }: PresentOptions): string[] {
  const title = paint("bold", `vCPU ${id}`);
  if (registers?.kind !== "x86") return [`${title}  ${caveat ?? "registers not known"}`];
  const { general, control, debug, msrs, segments, gdt, idt } = registers;
  const lines = [...registerRows(general), ...registerRows(control)];
  if (verbose) {
    const table = (name: string, entry: { base: bigint; limit: number } | undefined): string[] =>
      entry === undefined
        ? []
        : [`${name.padStart(6)}      base ${padded(entry.base)} limit ${hex(entry.limit)}`];
    lines.push(
      ...Object.entries(segments).map(
        ([name, s]) =>
          `${name.padStart(6)} ${s.selector.toString(16).padStart(4, "0")} base ${padded(s.base)} limit ${hex(s.limit)} flags ${hex(s.flags)}`,
      ),
      ...table("gdt", gdt),
      ...table("idt", idt),
      ...registerRows(debug),
      ...Object.entries(msrs).map(([name, value]) => `${name.padStart(16)} ${padded(value)}`),
    );
  }
  return [`${title}${caveat === undefined ? "" : `  ${caveat}`}`, ...indented(lines)];
}
