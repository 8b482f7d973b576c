import * as os from "node:os";
import type { LargeMapping, ProcessFacts } from "../../elf/process-facts.js";
import { paint, size, tableLines } from "../terminal.js";
import { count, factLines, indented } from "./presenter.js";

/** What is known of a process without debug information, as text. */
export function processLines(source: string, what: "core" | "process", facts: ProcessFacts): string[] {
  const { commandLine, commandLineCut = false, signal } = facts;
  const title = what === "core" ? "core of a process" : "running process";
  return [
    ...factLines(`${paint("bold", source)}: ${title}`, [
      ["program", facts.program],
      ["build id", facts.buildId],
      ["command line", commandLine && `${commandLine}${commandLineCut ? " … (the core keeps no more)" : ""}`],
      ["signal", signal === undefined ? undefined : signalText(signal)],
      ["threads", count(facts.threads)],
      ["mappings", count(facts.mappings)],
    ]),
    ...mappingLines(facts.largeMappings),
  ];
}

/** `6 (SIGABRT)`, by this machine's numbers. */
function signalText(signal: number): string {
  const name = Object.entries(os.constants.signals).find(([, number]) => number === signal)?.[0];
  return name === undefined ? String(signal) : `${signal} (${name})`;
}

function mappingLines(mappings: readonly LargeMapping[]): string[] {
  if (mappings.length === 0) return [];
  const rows = mappings.map(({ address, bytes, held, usedShare, likelyRam, file }) => [
    address,
    size(bytes),
    usedShare === undefined ? (held === 0 ? "not held" : "") : `${Math.round(100 * usedShare)}%`,
    likelyRam ? "likely" : "no",
    file ?? "",
  ]);
  const columns = [
    { title: "address" },
    { title: "size", align: "right" as const },
    { title: "pages in use", align: "right" as const },
    { title: "guest RAM" },
    { title: "file" },
  ];
  return ["", paint("bold", "Large writable mappings"), ...indented(tableLines(columns, rows)), ""];
}
