import { ELF_RULES } from "./rules.js";
import {
  type ByteOrder,
  layout,
  bytes,
  readU64,
  text,
  u16,
  u32,
  u64big,
  u8,
  viewOf,
} from "../binary/layout.js";
import { FormatError } from "../findings/errors.js";
import { stringAt } from "./file.js";
import type { ElfBits } from "./layout.js";
import type { ElfNote } from "./notes.js";
import type { MappedFile } from "./process-memory.js";

const SPEC = "Linux, include/linux/elfcore.h";

/** Start of NT_PRSTATUS on 64-bit machines: the registers follow, then a 32-bit flag. */
export const PRSTATUS_HEAD_64 = {
  si_signo: u32("signal"),
  si_code: u32("its code"),
  si_errno: u32("its errno"),
  pr_cursig: u16("current signal"),
  padding: u16("0"),
  pr_sigpend: u64big("pending signals"),
  pr_sighold: u64big("held signals"),
  pr_pid: u32("thread id"),
  pr_ppid: u32("parent"),
  pr_pgrp: u32("process group"),
  pr_sid: u32("session"),
  times: bytes(64, "user, system, children's user and system time"),
};
const prstatusHead64 = layout("elf_prstatus (64-bit)", SPEC, PRSTATUS_HEAD_64);

/** Start of NT_PRSTATUS on 32-bit machines. */
export const PRSTATUS_HEAD_32 = {
  si_signo: u32("signal"),
  si_code: u32("its code"),
  si_errno: u32("its errno"),
  pr_cursig: u16("current signal"),
  padding: u16("0"),
  pr_sigpend: u32("pending signals"),
  pr_sighold: u32("held signals"),
  pr_pid: u32("thread id"),
  pr_ppid: u32("parent"),
  pr_pgrp: u32("process group"),
  pr_sid: u32("session"),
  times: bytes(32, "user, system, children's user and system time"),
};
const prstatusHead32 = layout("elf_prstatus (32-bit)", SPEC, PRSTATUS_HEAD_32);

const states = {
  pr_state: u8("state of the process"),
  pr_sname: u8("the same as a letter"),
  pr_zomb: u8("whether it is a zombie"),
  pr_nice: u8("nice value"),
};
const names = {
  pr_pid: u32("process id"),
  pr_ppid: u32("parent"),
  pr_pgrp: u32("process group"),
  pr_sid: u32("session"),
  pr_fname: text(16, "file name of the program"),
  pr_psargs: text(80, "start of the arguments"),
};

/** NT_PRPSINFO in its three forms, told apart by size. */
export const prpsinfoLayouts = [
  layout("elf_prpsinfo (64-bit)", SPEC, {
    ...states,
    padding: u32("0"),
    pr_flag: u64big("flags"),
    pr_uid: u32("user"),
    pr_gid: u32("group"),
    ...names,
  }),
  layout("elf_prpsinfo (32-bit, 32-bit ids)", SPEC, {
    ...states,
    pr_flag: u32("flags"),
    pr_uid: u32("user"),
    pr_gid: u32("group"),
    ...names,
  }),
  layout("elf_prpsinfo (32-bit, 16-bit ids)", SPEC, {
    ...states,
    pr_flag: u32("flags"),
    pr_uid: u16("user"),
    pr_gid: u16("group"),
    ...names,
  }),
] as const;

/** One thread of a core. */
export interface CoreThread {
  readonly pid: number;
  readonly signal: number;
  /** The general registers as the architecture's user_regs lays them out. */
  readonly registers: Uint8Array;
}

/** What NT_PRPSINFO says of the process. */
export interface CoreProcess {
  readonly pid: number;
  readonly uid: number;
  /** File name of the program, cut to 15 characters. */
  readonly fileName: string;
  /** Arguments, cut to 79 characters. */
  readonly commandLine: string;
}

function refuse(note: ElfNote, source: string, record: string, message: string): FormatError {
  return new FormatError(ELF_RULES.coreNote, message, { source, offset: note.offset, record, spec: SPEC });
}

/** NT_PRSTATUS. @throws FormatError `elf/core/note` when it is too short. */
export function readPrstatus(note: ElfNote, bits: ElfBits, order: ByteOrder, source: string): CoreThread {
  const head = bits === 64 ? prstatusHead64 : prstatusHead32;
  if (note.descriptor.length < head.size + 4) {
    throw refuse(note, source, "NT_PRSTATUS", `${note.descriptor.length} bytes are too few`);
  }
  const { pr_pid, pr_cursig } = head.decode(note.descriptor, order);
  return { pid: pr_pid, signal: pr_cursig, registers: note.descriptor.subarray(head.size) };
}

/** NT_PRPSINFO; undefined for a form that isn't known. */
export function readPrpsinfo(note: ElfNote, order: ByteOrder): CoreProcess | undefined {
  const form = prpsinfoLayouts.find(({ size }) => size === note.descriptor.length);
  if (form === undefined) return undefined;
  const { pr_pid, pr_uid, pr_fname, pr_psargs } = form.decode(note.descriptor, order);
  const upToNul = (value: string): string => value.replace(/\0[^]*$/, "").trimEnd();
  return { pid: pr_pid, uid: pr_uid, fileName: upToNul(pr_fname), commandLine: upToNul(pr_psargs) };
}

/** NT_AUXV: pairs of tag and value up to tag 0. */
export function readAuxv(note: ElfNote, bits: ElfBits, order: ByteOrder): Map<number, bigint> {
  const word = wordReader(note.descriptor, bits, order);
  const auxv = new Map<number, bigint>();
  const step = bits / 8;
  for (let at = 0; at + 2 * step <= note.descriptor.length; at += 2 * step) {
    const tag = Number(word(at));
    if (tag === 0) break;
    auxv.set(tag, word(at + step));
  }
  return auxv;
}

/** NT_FILE: count, page size, then start, end and offset in pages of each mapping, then their names. */
export function readFileNote(note: ElfNote, bits: ElfBits, order: ByteOrder, source: string): MappedFile[] {
  const bytes = note.descriptor;
  const step = bits / 8;
  const view = viewOf(bytes);
  const little = order === "little";
  const word = (at: number): number => (step === 8 ? readU64(view, at, little) : view.getUint32(at, little));
  if (bytes.length < 2 * step) throw refuse(note, source, "NT_FILE", `${bytes.length} bytes are too few`);
  const [count, pageSize] = [word(0), word(step)];
  if (count > (bytes.length - 2 * step) / (3 * step)) {
    throw refuse(note, source, "NT_FILE", `${count} mappings don't fit into ${bytes.length} bytes`);
  }
  const files: MappedFile[] = [];
  let nameAt = (2 + 3 * count) * step;
  for (let i = 0; i < count; i += 1) {
    const at = (2 + 3 * i) * step;
    const path = stringAt(bytes, nameAt);
    nameAt += path.length + 1;
    files.push({
      start: word(at),
      end: word(at + step),
      fileOffset: word(at + 2 * step) * pageSize,
      path: utf8(path),
    });
  }
  return files.sort((a, b) => a.start - b.start);
}

/** File names are bytes, nearly always UTF-8. */
function utf8(byteText: string): string {
  const bytes = Uint8Array.from(byteText, (c) => c.charCodeAt(0));
  return new TextDecoder("utf-8").decode(bytes);
}

function wordReader(bytes: Uint8Array, bits: ElfBits, order: ByteOrder): (at: number) => bigint {
  const view = viewOf(bytes);
  const little = order === "little";
  return bits === 64 ? (at) => view.getBigUint64(at, little) : (at) => BigInt(view.getUint32(at, little));
}
