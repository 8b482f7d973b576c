import { viewOf } from "../../binary/layout.js";
import type { Rule } from "../../findings/rule.js";
import { type Diagnostics, ShiftedDiagnostics } from "../../findings/diagnostics.js";
import type { RecordRef } from "../../findings/finding.js";
import { Report } from "../../findings/report.js";
import { ByteReader } from "../../io/byte-reader.js";
import { bytesSource } from "../../io/byte-source.js";
import { LIBXC_RECORD } from "../libxc/layout.js";
import { RecordBody, type StreamRecord } from "../record.js";
import {
  CPU_SIZE_BEFORE_FLAGS,
  SAVE_MAGIC,
  SAVE_TYPE,
  SAVE_TYPE_NAMES,
  saveCpu,
  saveDescriptor,
  saveHeader,
  saveTypeName,
} from "./layout.js";
import { HVM_RULES } from "./rules.js";

/** Feature mask, xcr0 and xcr0_accum come before the area of CPU_XSAVE. */
const XSAVE_HEAD = 24;
const MIN_XSAVE_AREA = 576;

/** Walks the chain of entries in a HVM_CONTEXT body, a piece at a time. Returns their type codes, once END came. */
export async function checkHvmContext(
  diagnostics: Diagnostics,
  record: StreamRecord,
  body: RecordBody,
): Promise<ReadonlySet<number> | undefined> {
  const add = (rule: Rule, offset: number, message: string): void =>
    diagnostics.report(rule, { offset, record: record.ref }, message);
  if (record.length === 0) {
    add(HVM_RULES.empty, record.offset, "the body is empty");
    return undefined;
  }
  const seen = new Set<number>();
  for (let first = true; ; first = false) {
    const offset = body.offset;
    if (body.remaining < saveDescriptor.size) {
      add(HVM_RULES.noEnd, offset, "the record ends without an END entry");
      return undefined;
    }
    if (!(await body.need(saveDescriptor.size))) return undefined;
    const { typecode, instance, length } = saveDescriptor.read(body.view, body.at, "little");
    body.take(saveDescriptor.size);
    const entry = `${saveTypeName(typecode)} ${instance}`;
    if (length > body.remaining) {
      add(HVM_RULES.overrun, offset, `${entry}: ${length} bytes announced, ${body.remaining} are left`);
      return undefined;
    }
    if (first && typecode !== SAVE_TYPE.HEADER) {
      add(HVM_RULES.noHeader, offset, `the first entry is ${entry}, not HEADER`);
    }
    if (typecode === SAVE_TYPE.END) {
      if (length > 0) add(HVM_RULES.endLength, offset, `END has ${length} bytes`);
      const left = body.remaining - length;
      if (left > 0) add(HVM_RULES.trailing, offset + saveDescriptor.size + length, `${left} bytes after END`);
      return new Set([...seen].map((key) => Math.floor(key / 0x1_0000)));
    }
    if (!SAVE_TYPE_NAMES.has(typecode)) add(HVM_RULES.unknown, offset, entry);
    const key = typecode * 0x1_0000 + instance;
    if (seen.has(key)) add(HVM_RULES.duplicate, offset, `${entry} occurs a second time`);
    seen.add(key);
    if (!(await checkEntry(typecode, length, entry, offset, body, add))) return undefined;
    const left = length - (body.offset - offset - saveDescriptor.size);
    const skipped = body.skip(left);
    if ((skipped instanceof Promise ? await skipped : skipped) < left) return undefined;
  }
}

/**
 * Checks a HVM context that is in memory whole, as `checkHvmContext` does.
 * @param record whose body it is; `offset` is where the context begins in the input
 */
export async function checkHvmContextBytes(
  diagnostics: Diagnostics,
  record: RecordRef,
  offset: number,
  context: Uint8Array,
): Promise<void> {
  const reader = new ByteReader(bytesSource(context, diagnostics.source));
  const { length } = context;
  const whole = { kind: "record", layer: "libxc", type: LIBXC_RECORD.HVM_CONTEXT } as const;
  await checkHvmContext(
    new ShiftedDiagnostics(diagnostics, offset),
    { ...whole, ref: record, offset: 0, bodyOffset: 0, length },
    new RecordBody(reader, length, "little"),
  );
}

/** Whether bytes begin as a HVM context does, with its header's entry. */
export function beginsAsHvmContext(context: Uint8Array | undefined): boolean {
  if (context === undefined || context.length < saveDescriptor.size) return false;
  return saveDescriptor.read(viewOf(context), 0, "little").typecode === SAVE_TYPE.HEADER;
}

/** What is wrong with a HVM context for whoever wants its vCPUs: one sentence each. */
export async function hvmContextWarnings(source: string, context: Uint8Array): Promise<string[]> {
  const report = new Report(source);
  await checkHvmContextBytes(report, { layer: "libxc", index: 0, type: "HVM_CONTEXT" }, 0, context);
  return report.findings
    .filter(({ severity }) => severity === "error")
    .map(
      ({ message, offset, code }) =>
        `HVM context damaged at byte ${offset} of it: ${message}; vCPUs may be missing [${code}]`,
    );
}

/** False: the input ends here. */
async function checkEntry(
  typecode: number,
  length: number,
  entry: string,
  offset: number,
  body: RecordBody,
  add: (rule: Rule, offset: number, message: string) => void,
): Promise<boolean> {
  if (typecode === SAVE_TYPE.HEADER && length >= saveHeader.size) {
    if (!(await body.need(saveHeader.size))) return false;
    const { magic, version } = saveHeader.read(body.view, body.at, "little");
    if (magic !== SAVE_MAGIC) add(HVM_RULES.magic, offset, `magic 0x${magic.toString(16)}`);
    if (version !== 1) add(HVM_RULES.version, offset, `version ${version}`);
  } else if (typecode === SAVE_TYPE.CPU && length !== saveCpu.size && length !== CPU_SIZE_BEFORE_FLAGS) {
    add(HVM_RULES.cpuSize, offset, `${entry} has ${length} bytes`);
  } else if (typecode === SAVE_TYPE.XSAVE) {
    if (length < XSAVE_HEAD + MIN_XSAVE_AREA) {
      add(HVM_RULES.xsave, offset, `${entry} has ${length} bytes`);
    } else {
      if (!(await body.need(XSAVE_HEAD))) return false;
      const xcr0 = body.view.getBigUint64(body.at + 8, true);
      if ((xcr0 & 1n) === 0n)
        add(HVM_RULES.xsave, offset, `${entry}: xcr0 0x${xcr0.toString(16)} lacks bit 0`);
    }
  }
  return true;
}
