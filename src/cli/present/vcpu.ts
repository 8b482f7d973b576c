import type { VcpuSummary } from "../../vmcore/guest-summary.js";
import { hex } from "../terminal.js";
import { indented, type PresentOptions } from "./presenter.js";

/** A processor: the main registers, all of them with `verbose`. */
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
