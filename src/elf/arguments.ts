import { viewOf } from "../binary/layout.js";
import { indexOfBytes } from "../io/byte-search.js";
import { AT_EXECFN, AT_PHENT } from "./layout.js";
import type { ProcessMemory } from "./process-memory.js";

/** Bytes below the path given to execve that are searched: arguments and environment have at most 6 MiB (Linux, fs/exec.c). */
const MOST_STACK = 8 << 20;
/** Longest argument (Linux, MAX_ARG_STRLEN). */
const LONGEST = 128 << 10;
/** Size of a program header of a 32-bit program: what AT_PHENT says there. */
const PHENT_32 = 32;

/**
 * The arguments that a process was started with, from the top of its stack: the count, the pointers to them, those to
 * the environment, each list ended by 0, the auxiliary vector, then the texts (Linux, fs/binfmt_elf.c). Undefined where
 * the stack isn't there or isn't laid out like that.
 */
export async function programArguments(
  memory: ProcessMemory,
  auxv: ReadonlyMap<number, bigint>,
): Promise<readonly string[] | undefined> {
  const stack = await topOfStack(memory, auxv);
  if (stack === undefined) return undefined;
  for (const little of [true, false]) {
    const found = argumentsIn(stack, auxv, little);
    if (found !== undefined) return found;
  }
  return undefined;
}

interface Stack {
  readonly start: number;
  readonly bytes: Uint8Array;
}

async function topOfStack(
  memory: ProcessMemory,
  auxv: ReadonlyMap<number, bigint>,
): Promise<Stack | undefined> {
  const top = Number(auxv.get(AT_EXECFN) ?? 0n);
  if (top === 0 || !Number.isSafeInteger(top)) return undefined;
  let last: { readonly address: number; readonly length: number } | undefined;
  for (const piece of memory.pieces(Math.max(0, top - MOST_STACK), top))
    last = piece.presence === "present" ? piece : undefined;
  if (last === undefined) return undefined;
  const bytes = new Uint8Array(last.length);
  return (await memory.read(last.address, bytes)) === bytes.length
    ? { start: last.address, bytes }
    : undefined;
}

function argumentsIn(
  { start, bytes }: Stack,
  auxv: ReadonlyMap<number, bigint>,
  little: boolean,
): readonly string[] | undefined {
  const step = auxv.get(AT_PHENT) === BigInt(PHENT_32) ? 4 : 8;
  const vector = encode(
    [...auxv].flatMap(([tag, value]) => [BigInt(tag), value]),
    step,
    little,
  );
  const at = indexOfBytes(bytes, vector, 0);
  if (at === -1) return undefined;
  const view = viewOf(bytes);
  const word = (offset: number): number =>
    step === 8 ? Number(view.getBigUint64(offset, little)) : view.getUint32(offset, little);
  let end = at - step;
  if (end < 0 || word(end) !== 0) return undefined;
  // over the environment
  do end -= step;
  while (end >= 0 && word(end) !== 0);
  const texts: string[] = [];
  for (let pointer = end - step; pointer >= 0; pointer -= step) {
    const value = word(pointer);
    if (value === texts.length) return texts.toReversed();
    const text = textAt(bytes, value - start);
    if (text === undefined) return undefined;
    texts.push(text);
  }
  return undefined;
}

function encode(words: readonly bigint[], step: 4 | 8, little: boolean): Uint8Array {
  const bytes = new Uint8Array(words.length * step);
  const view = viewOf(bytes);
  for (const [i, value] of words.entries()) {
    if (step === 8) view.setBigUint64(i * step, value, little);
    else view.setUint32(i * step, Number(BigInt.asUintN(32, value)), little);
  }
  return bytes;
}

function textAt(bytes: Uint8Array, at: number): string | undefined {
  if (at < 0 || at >= bytes.length) return undefined;
  const end = bytes.subarray(at, at + LONGEST).indexOf(0);
  return end === -1 ? undefined : new TextDecoder("utf-8").decode(bytes.subarray(at, at + end));
}
