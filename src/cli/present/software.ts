import type { GuestInspection } from "../../guest/inspection.js";
import { size } from "../terminal.js";
import { facts, type Section } from "./presenter.js";

/** What the guest was running, where an inspection says; empty for one that looked at no memory. */
export function softwareSection({ software }: GuestInspection): Section {
  const info = software?.vmcoreInfo;
  const system = software?.system;
  const where = info?.gpa === undefined ? "" : ` at ${info.gpa}`;
  const lines = facts([
    ["kernel", software?.banner],
    ["host name", system?.hostName === "(none)" ? undefined : system?.hostName],
    ["command line", system?.commandLine],
    ["booted", system?.bootTime],
    ["uptime", system?.uptime === undefined ? undefined : duration(system.uptime)],
    ["load", system?.load?.map((value) => value.toFixed(2)).join(", ")],
    [
      "memory in use",
      system?.memory && `${size(system.memory.total - system.memory.free)} of ${size(system.memory.total)}`,
    ],
    ["taint", system?.taint === "" ? undefined : system?.taint],
    ["panic", system?.panic],
    ["hung tasks", system?.hungTasks ? String(system.hungTasks) : undefined],
    ["VMCOREINFO", info === undefined ? undefined : `${info.release ?? "found"}${where}`],
    ...(software?.code ?? []).map(({ vcpu, bytes }) => [`code of vCPU ${vcpu}`, bytes] as const),
  ]);
  return { title: "Running", lines };
}

/** `3 d 4 h 5 min`, the two largest parts. */
function duration(seconds: number): string {
  const parts: readonly (readonly [number, string])[] = [
    [Math.floor(seconds / 86400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [Math.floor(seconds) % 60, "s"],
  ];
  const first = parts.findIndex(([value]) => value > 0);
  const shown = parts.slice(Math.max(0, first), Math.max(0, first) + 2).filter(([value]) => value > 0);
  return shown.map(([value, unit]) => `${value} ${unit}`).join(" ") || "0 s";
}
