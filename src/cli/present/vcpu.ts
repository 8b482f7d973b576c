import type { Vcpu } from "../../guest/vcpu.js";
import { hex } from "../terminal.js";
import { indented, type PresentOptions } from "./presenter.js";

/** A processor: the main registers, all of them with `verbose`. */
export function vcpuLines(vcpu: Vcpu, options: PresentOptions): string[] {
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
  const head = `vCPU ${vcpu.id}: rip ${hex(general.rip)}, rsp ${hex(general.rsp)}, cr0 ${hex(control.cr0 ?? 0n)}, cr3 ${hex(control.cr3 ?? 0n)}, cr4 ${hex(control.cr4 ?? 0n)}`;
  if (!options.verbose) return [head];
  const parts = Object.entries(segments).map(
    ([name, s]) =>
      `${name} ${hex(s.selector)} base ${hex(s.base)} limit ${hex(s.limit)} flags ${hex(s.flags)}`,
  );
  return [head, ...indented([values(general), ...parts, values(registers.msrs)])];
}
