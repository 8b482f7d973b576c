import type { Rule } from "../../findings/rule.js";
import type { Diagnostics } from "../../findings/diagnostics.js";
import { placeOf, type RecordBody, type StreamRecord } from "../record.js";
import {
  EMULATOR_NAMES,
  LIBXL_EMULATOR,
  LIBXL_RECORD,
  libxlCheckpointState,
  libxlEmulatorHeader,
} from "./layout.js";
import { LIBXL_RULES } from "./rules.js";

const KNOWN: ReadonlySet<number> = new Set(Object.values(LIBXL_RECORD));
const OPTIONAL = 0x8000_0000;
/** `QEVM`. */
const QEVM = 0x5145_564d;
const LAST_CONTROL_ID = 3;
const PIECE = 64 << 10;

/** Kinds of guests as libxl tells them apart. */
export type LibxlGuest = "pv" | "pvh" | "hvm";

/** Checks the records of the libxl layer. */
export class LibxlChecker {
  readonly #diagnostics: Diagnostics;
  #context = false;

  constructor(diagnostics: Diagnostics) {
    this.#diagnostics = diagnostics;
  }

  /** @param guest as far as the stream has shown it */
  async check(record: StreamRecord, body: RecordBody, guest: LibxlGuest | undefined): Promise<void> {
    const add = (rule: Rule, message: string): void =>
      this.#diagnostics.report(rule, placeOf(record), message);
    const { type, length } = record;
    if (!KNOWN.has(type)) {
      if (type < OPTIONAL) add(LIBXL_RULES.unknownMandatory, `${record.ref.type} is not defined`);
      else add(LIBXL_RULES.unknownOptional, `optional ${record.ref.type}, ${length} bytes`);
      return;
    }
    switch (type) {
      case LIBXL_RECORD.LIBXC_CONTEXT:
        this.#context = true;
        if (length > 0) add(LIBXL_RULES.notEmpty, `body of ${length} bytes`);
        return;
      case LIBXL_RECORD.END:
        if (!this.#context) add(LIBXL_RULES.noContext, "no LIBXC_CONTEXT before END");
        if (length > 0) add(LIBXL_RULES.notEmpty, `body of ${length} bytes`);
        return;
      case LIBXL_RECORD.CHECKPOINT_END:
        if (length > 0) add(LIBXL_RULES.notEmpty, `body of ${length} bytes`);
        return;
      case LIBXL_RECORD.CHECKPOINT_STATE:
        return this.#checkpointState(body, add);
      default:
        if (guest === "pv" || guest === "pvh")
          add(LIBXL_RULES.emulatorForeign, `${record.ref.type} of a ${guest.toUpperCase()} guest`);
        return this.#emulator(record, body, add);
    }
  }

  async #checkpointState(body: RecordBody, add: (rule: Rule, message: string) => void): Promise<void> {
    if (body.length !== libxlCheckpointState.size) {
      add(
        LIBXL_RULES.checkpointStateLength,
        `body of ${body.length} bytes, not ${libxlCheckpointState.size}`,
      );
      return;
    }
    if (!(await body.need(libxlCheckpointState.size))) return;
    const { id, padding } = libxlCheckpointState.read(body.view, body.at, body.order);
    if (id > LAST_CONTROL_ID) add(LIBXL_RULES.checkpointStateId, `control id ${id}`);
    if (padding !== 0) add(LIBXL_RULES.checkpointStatePadding, `padding holds 0x${padding.toString(16)}`);
  }

  async #emulator(
    record: StreamRecord,
    body: RecordBody,
    add: (rule: Rule, message: string) => void,
  ): Promise<void> {
    if (!this.#context) add(LIBXL_RULES.emulatorBeforeContext, `${record.ref.type} before LIBXC_CONTEXT`);
    if (body.length < libxlEmulatorHeader.size) {
      add(LIBXL_RULES.emulatorShort, `body of ${body.length} bytes, at least 8 are needed`);
      return;
    }
    if (!(await body.need(libxlEmulatorHeader.size))) return;
    const { emulatorId } = libxlEmulatorHeader.read(body.view, body.at, body.order);
    body.take(libxlEmulatorHeader.size);
    if (EMULATOR_NAMES[emulatorId] === undefined) add(LIBXL_RULES.emulatorId, `emulator ${emulatorId}`);
    if (record.type === LIBXL_RECORD.EMULATOR_XENSTORE_DATA) return this.#xenstore(body, add);
    if (body.remaining === 0) {
      add(LIBXL_RULES.emulatorEmpty, "the emulator's state is empty");
    } else if (emulatorId === LIBXL_EMULATOR.qemuUpstream && (await body.need(4))) {
      const start = body.view.getUint32(body.at);
      if (start !== QEVM)
        add(LIBXL_RULES.emulatorQemu, `starts with 0x${start.toString(16).padStart(8, "0")}`);
    }
  }

  /** Pairs `key\0value\0`, looked at a piece at a time. */
  async #xenstore(body: RecordBody, add: (rule: Rule, message: string) => void): Promise<void> {
    if (body.remaining === 0) {
      add(LIBXL_RULES.xenstoreEmpty, "no keys");
      return;
    }
    let strings = 0;
    let previous = 0;
    let badKeys = 0;
    while (body.remaining > 0) {
      const count = Math.min(PIECE, body.remaining);
      if (!(await body.need(count))) return;
      for (const byte of body.take(count)) {
        const startsKey = previous === 0 && strings % 2 === 0;
        // a key begins here: neither closed at once nor absolute
        if (startsKey && (byte === 0 || byte === 0x2f)) badKeys += 1;
        if (byte === 0) strings += 1;
        previous = byte;
      }
    }
    if (previous !== 0) add(LIBXL_RULES.xenstoreTermination, "the last string is not closed by a NUL");
    else if (strings % 2 !== 0) add(LIBXL_RULES.xenstorePairs, `${strings} strings make no pairs`);
    if (badKeys > 0) add(LIBXL_RULES.xenstoreKey, `${badKeys} keys are empty or start with a slash`);
  }
}
