import { latin1 } from "../../binary/layout.js";
import type { HvmTailChunk, LegacyChunk, PvInfoChunk, QemuChunk } from "./chunks.js";
import type { Cursor } from "./cursor.js";
import {
  CARRIED_LIMIT,
  HVM_TAIL,
  PAGE,
  QEMU_SIGNATURE_SIZE,
  QEMU_SIGNATURES,
  VCPU_EXTENDED,
  XSAVE_PREFIX,
} from "./layout.js";
import { PfnSet } from "./pfn-set.js";
import { LEGACY_RULES } from "./rules.js";

/** expected: the caller knows it follows; none: it is not read; detect: as the stream shows. */
export type QemuRecord = "expected" | "none" | "detect";

const QEVM = "QEVM";

/** The magic pfns and the HVM context. */
export async function* readHvmTail(
  cursor: Cursor,
  nextIndex: () => number,
): AsyncGenerator<HvmTailChunk, void, void> {
  const offset = cursor.position;
  const index = nextIndex();
  cursor.chunk = { layer: "legacy", index, type: "HVM_TAIL" };
  await cursor.need(HVM_TAIL.size, "HVM tail");
  const { contextLength, ...pfns } = HVM_TAIL.read(cursor.reader.view, cursor.reader.at, "little");
  cursor.reader.take(HVM_TAIL.size);
  if (contextLength === 0) cursor.report(LEGACY_RULES.hvmContext, offset + 24, "an HVM context of 0 bytes");
  if (contextLength > CARRIED_LIMIT) {
    cursor.fail(
      LEGACY_RULES.hvmContext,
      offset + 24,
      `an HVM context of ${contextLength} bytes, at most ${CARRIED_LIMIT}`,
    );
  }
  const dataOffset = cursor.position;
  yield { kind: "hvm-tail", offset, index, ...pfns, dataLength: contextLength, dataOffset };
  const taken = cursor.position - dataOffset;
  if (taken < contextLength) await cursor.skip(contextLength - taken, "HVM context");
}

/**
 * The QEMU record after an HVM tail; undefined: there is none.
 * @param required whether the stream itself says that libxl wrote it: then a record follows
 */
export async function readQemuRecord(
  cursor: Cursor,
  nextIndex: () => number,
  qemu: QemuRecord,
  required: boolean,
): Promise<QemuChunk | undefined> {
  if (qemu === "none") return undefined;
  const { reader } = cursor;
  const offset = cursor.position;
  const must = qemu === "expected" || required;
  if (!(await reader.need(QEMU_SIGNATURE_SIZE))) {
    const rest = latin1(reader.peek(reader.available));
    const begun = rest !== "" && [...QEMU_SIGNATURES.keys()].some((known) => known.startsWith(rest));
    if (!must && !begun) return undefined;
    cursor.chunk = { ...cursor.chunk, type: "QEMU_RECORD" };
    if (reader.available === 0) {
      cursor.fail(LEGACY_RULES.qemuMissing, offset, "the stream ends where a QEMU record must follow");
    }
    throw cursor.truncated(QEMU_SIGNATURE_SIZE - reader.available, "QEMU signature");
  }
  const signature = latin1(reader.peek(QEMU_SIGNATURE_SIZE));
  const known = QEMU_SIGNATURES.get(signature);
  if (known === undefined) {
    if (!must) return undefined;
    const shown = signature.replace(/[^ -~]/g, ".");
    return cursor.fail(LEGACY_RULES.qemuSignature, offset, `'${shown}' is no known QEMU signature`);
  }
  const index = nextIndex();
  cursor.chunk = { layer: "legacy", index, type: "QEMU_RECORD" };
  reader.take(QEMU_SIGNATURE_SIZE);
  if (known.sized) {
    const dataLength = await cursor.u32("QEMU record");
    if (dataLength > CARRIED_LIMIT) {
      cursor.fail(
        LEGACY_RULES.qemuData,
        offset,
        `${dataLength} bytes of QEMU data, at most ${CARRIED_LIMIT}`,
      );
    }
    return { kind: "qemu", offset, index, signature, dataLength, dataOffset: cursor.position };
  }
  await cursor.need(QEVM.length, "QEMU data");
  if (latin1(reader.peek(QEVM.length)) !== QEVM) {
    cursor.fail(LEGACY_RULES.qemuData, cursor.position, "QEMU data of the old kind must start with QEVM");
  }
  return { kind: "qemu", offset, index, signature, dataLength: undefined, dataOffset: cursor.position };
}

/** The unmapped pfns, the state of each online vCPU in ascending order, and the shared info page. */
export async function* readPvTail(
  cursor: Cursor,
  nextIndex: () => number,
  p2mSize: number,
  pv: PvInfoChunk,
  vcpus: readonly number[],
): AsyncGenerator<LegacyChunk, void, void> {
  yield await readUnmapped(cursor, nextIndex(), p2mSize);
  const stateSize = pv.contextSize + (pv.extended ? VCPU_EXTENDED : 0);
  for (const id of vcpus) {
    const offset = cursor.position;
    const index = nextIndex();
    cursor.chunk = { layer: "legacy", index, type: `VCPU ${id}` };
    let size = stateSize;
    let xsaveMask: bigint | undefined;
    if (pv.xsaveSize !== undefined) {
      await cursor.need(stateSize + XSAVE_PREFIX.size, "vCPU state");
      const at = cursor.reader.at + stateSize;
      const { view } = cursor.reader;
      xsaveMask = view.getBigUint64(at, true);
      const announced = view.getBigUint64(at + 8, true);
      if (announced !== BigInt(pv.xsaveSize)) {
        cursor.fail(
          LEGACY_RULES.xsaveSize,
          offset + stateSize + 8,
          `an XSAVE area of ${announced} bytes where ${pv.xsaveSize} were announced`,
        );
      }
      size += XSAVE_PREFIX.size + pv.xsaveSize;
    }
    await cursor.need(size, "vCPU state");
    const state = cursor.reader.take(size);
    yield {
      kind: "vcpu",
      offset,
      index,
      id,
      context: state.subarray(0, pv.contextSize),
      extended: pv.extended ? state.subarray(pv.contextSize, stateSize) : undefined,
      xsave: pv.xsaveSize === undefined ? undefined : state.subarray(stateSize + XSAVE_PREFIX.size),
      xsaveMask,
    };
  }
  const offset = cursor.position;
  const index = nextIndex();
  cursor.chunk = { layer: "legacy", index, type: "SHARED_INFO" };
  yield { kind: "shared-info", offset, index, bytes: await cursor.bytes(PAGE, "shared info") };
}

async function readUnmapped(cursor: Cursor, index: number, p2mSize: number): Promise<LegacyChunk> {
  const offset = cursor.position;
  cursor.chunk = { layer: "legacy", index, type: "UNMAPPED_PFNS" };
  const count = await cursor.u32("list of unmapped pfns");
  if (count > p2mSize) {
    cursor.fail(LEGACY_RULES.unmappedCount, offset, `${count} unmapped pfns of a guest of ${p2mSize}`);
  }
  const pfns = new PfnSet();
  let at = offset + 4;
  await cursor.ulongs(count, "list of unmapped pfns", (words) => {
    for (const pfn of words) {
      if (pfn < p2mSize) pfns.add(pfn);
      else
        cursor.report(
          LEGACY_RULES.unmappedRange,
          at,
          `unmapped pfn 0x${pfn.toString(16)} is beyond p2m_size`,
        );
      at += cursor.ulongSize;
    }
  });
  return { kind: "unmapped", offset, index, pfns };
}
