import { gunzipText } from "../shared.js";
import { fixturePath } from "./fixture.js";

/** Guests that reported on their console what they held before they were stopped (scripts/guests/init). */
export const REPORTED = ["panic-6.1", "arm64-6.12", "amd64-7.2"] as const;

/** What each command of a guest's report printed, in lines. */
export type GuestReport = ReadonlyMap<string, readonly string[]>;

/** The report of a fixture's guest. */
export function readReport(name: string): GuestReport {
  const parts = new Map<string, string[]>();
  let current: string[] | undefined;
  for (const line of gunzipText(fixturePath(`${name}.report.txt.gz`)).split("\n")) {
    const command = /^=== (.*)$/.exec(line)?.[1];
    if (command !== undefined) parts.set(command, (current = []));
    else if (line !== "") current?.push(line);
  }
  return parts;
}

/** Lines of one command. */
export function linesOf(report: GuestReport, command: string): readonly string[] {
  const lines = report.get(command);
  if (lines === undefined) throw new Error(`the guest did not report ${command}`);
  return lines;
}

/** Columns of a line. */
export const columns = (line: string): string[] => line.trim().split(/\s+/);

/** Numbers of processes that the guest reported on, ascending. */
export function pidsOf(report: GuestReport, file: string): number[] {
  const found = [...report.keys()].map((command) => new RegExp(`/proc/(\\d+)/${file}$`).exec(command)?.[1]);
  return found.flatMap((pid) => (pid === undefined ? [] : [Number(pid)])).sort((a, b) => a - b);
}
