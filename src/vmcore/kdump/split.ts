import { lastSeparator } from "../../io/path-parts.js";
import type { OpenOptions } from "../../guest/options.js";
import type { ByteSource } from "../../io/byte-source.js";
import { GuestscopeError } from "../../findings/errors.js";
import { KdumpFile } from "./read.js";

/** Parts looked for beside one that was named. */
const MOST_PARTS = 256;

/**
 * Names that the other parts of a set can have: the last number in the file's name replaced by 0, 1, 2 …,
 * with as many digits where it has leading zeros.
 */
export function siblingNames(name: string): string[] {
  const slash = lastSeparator(name) + 1;
  const numbers = Array.from(name.slice(slash).matchAll(/\d+/g));
  return numbers.toReversed().flatMap((found) => {
    const [digits] = found;
    const at = slash + found.index;
    return Array.from({ length: MOST_PARTS }, (_, n) => {
      const number = String(n).padStart(digits.startsWith("0") ? digits.length : 1, "0");
      return `${name.slice(0, at)}${number}${name.slice(at + digits.length)}`;
    }).filter((other) => other !== name);
  });
}

const belongs = (part: KdumpFile, to: KdumpFile): boolean =>
  part.isSplit &&
  part.blockSize === to.blockSize &&
  part.frames === to.frames &&
  part.form.bits === to.form.bits &&
  part.form.order === to.form.order &&
  part.header.release === to.header.release &&
  part.vmcoreInfo === to.vmcoreInfo;

/**
 * The other parts of a split dump: those that `kdump.parts` of the options names, or else files beside this one whose
 * names differ in a number, until they cover all frames.
 */
export async function splitSiblings(
  file: KdumpFile,
  options: OpenOptions,
  warnings: string[],
): Promise<KdumpFile[]> {
  const open = options.openFile;
  if (open === undefined) return [];
  const named = options.kdump?.parts;
  const found: KdumpFile[] = [];
  let covered = file.endFrame - file.firstFrame;
  for (const name of named ?? siblingNames(file.name)) {
    if (covered >= file.frames) break;
    const part = await tryOpen(name, open);
    if (part === undefined || !belongs(part, file)) {
      if (named !== undefined) warnings.push(`${name} is not a part of the same dump`);
      if (part !== undefined) closeSource(part.input);
      continue;
    }
    const all = [file, ...found];
    if (all.some((other) => part.firstFrame < other.endFrame && other.firstFrame < part.endFrame)) {
      closeSource(part.input);
      continue;
    }
    found.push(part);
    covered += part.endFrame - part.firstFrame;
  }
  return found;
}

async function tryOpen(
  name: string,
  open: (path: string) => Promise<ByteSource>,
): Promise<KdumpFile | undefined> {
  let source: ByteSource | undefined;
  try {
    source = await open(name);
    return await KdumpFile.open(source);
  } catch (error) {
    if (!(error instanceof GuestscopeError)) throw error;
    if (source !== undefined) closeSource(source);
    return undefined;
  }
}

/** Gives a file back that was opened here; sources of other kinds have nothing to give. */
export function closeSource(source: ByteSource): void {
  const { close } = source as { close?: () => void };
  try {
    close?.call(source);
  } catch (error) {
    if (!(error instanceof GuestscopeError)) throw error;
  }
}
