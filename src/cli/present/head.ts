import { type MemorySummary } from "../../guest/inspection.js";
import type { GuestInspection } from "../../guest/inspection.js";
import { hex, paint, size } from "../terminal.js";
import { percent } from "./memory.js";
import { counted, factLines, type Section, vcpuCount } from "./presenter.js";

/** What was asked first of any saved guest: name, system, memory, vCPUs, health. The same for every format. */
export function headLines(inspection: GuestInspection): string[] {
  const { source, origin, guest, memory, vcpus, software } = inspection;
  const release = software?.system?.release ?? software?.vmcoreInfo?.release;
  const kernel = release === undefined ? software?.banner : `Linux ${release}`;
  const machine = [guest?.hypervisor, guest?.type, guest?.arch].filter((part) => part !== undefined);
  return factLines(`${paint("bold", source)}: ${origin}`, [
    ["name", guest?.name ?? hostName(software?.system?.hostName)],
    ["uuid", guest?.uuid],
    ["system", kernel],
    ["panic", software?.system?.panic],
    ["machine", machine.length === 0 ? undefined : machine.join(", ")],
    ["memory", memory === undefined ? undefined : memoryText(memory)],
    ["vCPUs", vcpus === undefined ? undefined : vcpusText(vcpus)],
    ["health", healthText(inspection)],
  ]);
}

function memoryText({ present, zero, absent }: MemorySummary): string {
  const whole = present + zero + absent;
  if (absent === 0) return size(whole);
  return `${size(whole)}, of which ${size(absent)} (${percent(absent, whole)}) is not here`;
}

function vcpusText(vcpus: NonNullable<GuestInspection["vcpus"]>): string {
  if (vcpus.length === 0) return "none recorded";
  const known = vcpus.filter(({ registers }) => registers !== undefined).length;
  const all = vcpuCount(vcpus.map(({ id }) => id));
  return known === vcpus.length ? all : `${all}, registers of ${known} known`;
}

/** A host's name; the kernel's placeholder for none is none. */
const hostName = (name: string | undefined): string | undefined => (name === "(none)" ? undefined : name);

function healthText({ damage, warnings }: GuestInspection): string {
  const doubts = warnings.length === 0 ? "" : `, ${counted(warnings.length, "warning")}`;
  if (damage.length === 0)
    return `${paint("green", "nothing wrong was met")}${doubts}; 'guestscope verify' checks all`;
  return `${paint("red", `damaged: ${counted(damage.length, "error")}`)}${doubts}; 'guestscope verify' says more`;
}

/** What ended reading early, or was found broken on the way. */
export function damageSection({ damage }: GuestInspection): Section {
  const lines = damage.map(({ offset, message, code }) => `at ${hex(offset)}: ${message} [${code}]`);
  return { title: "Damage", lines: lines.length === 0 ? [] : [...lines, "'guestscope verify' says more"] };
}

/** Doubts and limits, a line each. */
export function warningSection({ warnings }: GuestInspection): Section {
  return { title: "Warnings", lines: warnings };
}
