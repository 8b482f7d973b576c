import { writtenOut } from "../../binary/text.js";
import { viewOf } from "../../binary/layout.js";
import type { Rule } from "../../findings/rule.js";

/** Names of the syslog levels, by number (Linux, include/linux/kern_levels.h). */
export const LOG_LEVELS = ["emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"] as const;

/** Names of the syslog facilities, by number (RFC 5424, section 6.2.1; user space's `dmesg -x` says the same). */
export const LOG_FACILITIES = [
  "kern",
  "user",
  "mail",
  "daemon",
  "auth",
  "syslog",
  "lpr",
  "news",
  "uucp",
  "cron",
  "authpriv",
  "ftp",
] as const;

/** Who printed a message: a task by its pid, or a CPU in an interrupt. */
export interface LogCaller {
  readonly kind: "task" | "cpu";
  readonly id: number;
}

/** One message of the kernel log. What its kernel doesn't keep is left out. */
export interface LogRecord {
  /** Number of the message since boot; ring-buffer kernels keep it. */
  readonly seq?: bigint;
  /** Nanoseconds since boot by the kernel's clock. */
  readonly tsNsec?: bigint;
  /** Syslog level, 0 (emerg) to 7 (debug). */
  readonly level?: number;
  /** Syslog facility, 0 for the kernel itself. */
  readonly facility?: number;
  /** Flags as the kernel keeps them: 2 the text ended with a newline, 8 a piece of a line that goes on. */
  readonly flags?: number;
  readonly caller?: LogCaller;
  /** Name of the task that printed, where the kernel keeps it (CONFIG_PRINTK_EXECUTION_CTX, Linux 6.19). */
  readonly comm?: string;
  /** The device a driver printed for: `pci`, `+pci:0000:00:1f.2`. */
  readonly device?: { readonly subsystem: string; readonly device: string };
  /** Text without its last newline, see {@link logText}; may hold further newlines. */
  readonly text: string;
  /** The record holds no text block at all (an empty line, or its text was overwritten). */
  readonly empty?: true;
}

/** Says what is wrong with the log, while it is read. */
export type LogReport = (rule: Rule, message: string) => void;

/** Top bit of a caller id: the rest is a CPU's number, not a pid. */
const CALLER_CPU = 0x8000_0000;

/** A caller id (Linux, printk_caller_id). */
export function callerOf(id: number): LogCaller {
  return id >= CALLER_CPU ? { kind: "cpu", id: id - CALLER_CPU } : { kind: "task", id };
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Bytes of a message as text: UTF-8 where they are; each byte of a text that isn't UTF-8 and each control character
 * but newline and tab as `\x1b`, so that no terminal obeys them.
 */
export function logText(bytes: Uint8Array): string {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    text = Array.from(bytes, (byte) =>
      byte < 0x80 ? String.fromCharCode(byte) : `\\x${byte.toString(16)}`,
    ).join("");
  }
  return text.replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, writtenOut);
}

/** Text of a fixed-size field up to its first NUL. */
export function fieldText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return logText(end === -1 ? bytes : bytes.subarray(0, end));
}

/** Level and flags, which share a byte as bit fields of five and three bits. */
export function levelAndFlags(byte: number, little: boolean): { level: number; flags: number } {
  return little ? { level: byte >> 5, flags: byte & 0x1f } : { level: byte & 7, flags: byte >> 3 };
}

/** An `unsigned long` of the guest. */
export function readLong(bytes: Uint8Array, at: number, bits: 32 | 64, little: boolean): bigint {
  const view = viewOf(bytes);
  return bits === 64 ? view.getBigUint64(at, little) : BigInt(view.getUint32(at, little));
}
