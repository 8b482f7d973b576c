import { rules } from "../../findings/rule.js";

const SPEC = "libxl migration stream";
const HEADER = `${SPEC}: header`;
const RECORDS = `${SPEC}: records`;
const CHECKPOINTS = `${SPEC}: checkpointed streams`;

/** What can be wrong in the libxl layer. */
export const LIBXL_RULES = rules({
  ident: {
    code: "libxl/header/ident",
    severity: "error",
    spec: HEADER,
    explanation:
      "A libxl stream starts with 'LibxlFmt'; after an xl header that announces one it must follow.",
  },
  version: {
    code: "libxl/header/version",
    severity: "error",
    spec: HEADER,
    explanation: "Only version 2 of the libxl stream exists.",
  },
  reservedOptions: {
    code: "libxl/header/reserved-options",
    severity: "error",
    spec: HEADER,
    explanation: "Bits 2 to 31 of the options are reserved and zero when saved.",
  },
  tooLong: {
    code: "libxl/record/too-long",
    severity: "error",
    spec: RECORDS,
    explanation:
      "No record has a body of more than 128 MiB. The length is damaged, and with it the place of everything after it.",
  },
  padding: {
    code: "libxl/record/padding",
    severity: "error",
    spec: RECORDS,
    explanation: "The bytes between a body and the next multiple of 8 are zero when saved.",
  },
  unknownMandatory: {
    code: "libxl/record/unknown-mandatory",
    severity: "error",
    spec: RECORDS,
    explanation:
      "A record of a type below 0x80000000 must be understood; a reader that doesn't know it must refuse the stream.",
  },
  unknownOptional: {
    code: "libxl/record/unknown-optional",
    severity: "note",
    spec: RECORDS,
    explanation: "Types from 0x80000000 on may be passed over by readers that don't know them.",
  },
  notEmpty: {
    code: "libxl/record/not-empty",
    severity: "error",
    spec: RECORDS,
    explanation: "A record of this type has no body.",
  },
  noContext: {
    code: "libxl/stream/no-libxc-context",
    severity: "error",
    spec: RECORDS,
    explanation: "A libxl stream holds one LIBXC_CONTEXT record, which the domain's memory and state follow.",
  },
  repeatedContext: {
    code: "libxl/stream/repeated-libxc-context",
    severity: "error",
    spec: RECORDS,
    explanation: "A libxl stream holds one libxc stream; a second LIBXC_CONTEXT can't be restored.",
  },
  emulatorBeforeContext: {
    code: "libxl/stream/emulator-before-libxc",
    severity: "error",
    spec: RECORDS,
    explanation:
      "Emulator records come after the libxc stream: the emulator is restored into a domain that exists.",
  },
  emulatorForeign: {
    code: "libxl/emulator/no-emulator",
    severity: "error",
    spec: `${SPEC}: EMULATOR_* records`,
    explanation:
      "Only HVM guests have an emulator: Xen doesn't restore a PV or PVH guest whose stream holds emulator records.",
  },
  emulatorShort: {
    code: "libxl/emulator/short",
    severity: "error",
    spec: `${SPEC}: EMULATOR_* records`,
    explanation: "An emulator record starts with the emulator's id and index, 8 bytes.",
  },
  emulatorId: {
    code: "libxl/emulator/unknown-id",
    severity: "error",
    spec: `${SPEC}: EMULATOR_* records`,
    explanation: "Emulators are 0 (unknown), 1 (QEMU traditional) and 2 (QEMU upstream).",
  },
  emulatorEmpty: {
    code: "libxl/emulator/empty-context",
    severity: "warning",
    spec: `${SPEC}: EMULATOR_CONTEXT`,
    explanation: "The record names an emulator but holds no state of it: its devices will start afresh.",
  },
  emulatorQemu: {
    code: "libxl/emulator/not-qevm",
    severity: "warning",
    spec: `${SPEC}: EMULATOR_CONTEXT`,
    explanation: "The state of QEMU upstream is a migration stream that starts with QEVM; this one doesn't.",
  },
  xenstoreTermination: {
    code: "libxl/xenstore-data/unterminated",
    severity: "error",
    spec: `${SPEC}: EMULATOR_XENSTORE_DATA`,
    explanation: "The data are strings, each closed by a NUL; the last one isn't.",
  },
  xenstorePairs: {
    code: "libxl/xenstore-data/odd",
    severity: "error",
    spec: `${SPEC}: EMULATOR_XENSTORE_DATA`,
    explanation: "The data are pairs of a key and a value; there is a key without a value.",
  },
  xenstoreKey: {
    code: "libxl/xenstore-data/key",
    severity: "error",
    spec: `${SPEC}: EMULATOR_XENSTORE_DATA`,
    explanation:
      "A key is a path relative to the emulator's own node: not empty and not starting with a slash.",
  },
  xenstoreEmpty: {
    code: "libxl/xenstore-data/empty",
    severity: "warning",
    spec: `${SPEC}: EMULATOR_XENSTORE_DATA`,
    explanation: "The record holds no key; readers accept that.",
  },
  checkpointEnd: {
    code: "libxl/checkpoint/stray-end",
    severity: "error",
    spec: CHECKPOINTS,
    explanation:
      "CHECKPOINT_END gives control back to the libxc stream, which must have ended a checkpoint before.",
  },
  checkpointOpen: {
    code: "libxl/checkpoint/open",
    severity: "error",
    spec: CHECKPOINTS,
    explanation: "The stream ends although the libxc stream is only interrupted by a checkpoint, not ended.",
  },
  checkpointStateLength: {
    code: "libxl/checkpoint-state/length",
    severity: "error",
    spec: `${SPEC}: CHECKPOINT_STATE`,
    explanation: "The body is a control id and four bytes of padding.",
  },
  checkpointStateId: {
    code: "libxl/checkpoint-state/unknown-id",
    severity: "error",
    spec: `${SPEC}: CHECKPOINT_STATE`,
    explanation: "Control ids are 0 (new checkpoint), 1 (secondary suspended), 2 (ready) and 3 (resumed).",
  },
  checkpointStatePadding: {
    code: "libxl/checkpoint-state/padding",
    severity: "error",
    spec: `${SPEC}: CHECKPOINT_STATE`,
    explanation: "The four bytes after the control id are zero when saved.",
  },
});
