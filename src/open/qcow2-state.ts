import { hexText } from "../binary/text.js";
import { appendTo } from "../binary/arrays.js";
import type { Qcow2Image } from "../disk/qcow2/read.js";
import { checkState } from "../disk/qcow2/check.js";
import { describeImage, type Qcow2Inspection } from "../disk/qcow2/inspect.js";
import { readImage } from "../disk/qcow2/read.js";
import { QCOW2_RULES } from "../disk/qcow2/rules.js";
import { chooseSnapshot, type Snapshot } from "../disk/qcow2/snapshots.js";
import { stateSource, type VirtualSource } from "../disk/qcow2/state.js";
import type { Rule } from "../findings/rule.js";
import { type Diagnostics, type FindingPlace, formatError } from "../findings/diagnostics.js";
import { Report } from "../findings/report.js";
import type { GuestImage } from "../guest/image.js";
import type { OpenOptions } from "../guest/options.js";
import { type ByteSource, sliceSource } from "../io/byte-source.js";
import { FormatError } from "../findings/errors.js";
import { peekHead } from "../io/peek-head.js";
import { qemuMigration } from "../qemu/migration/format.js";

/** Bytes of a state's start that show its format. */
const STATE_HEAD = 16;

type QemuReader = typeof qemuMigration.reader;

/** Passes findings on and keeps them. */
class PassingReport extends Report {
  readonly #target: Diagnostics;

  constructor(target: Diagnostics) {
    super(target.source);
    this.#target = target;
  }

  override report(rule: Rule, place: FindingPlace, message: string): void {
    super.report(rule, place, message);
    this.#target.report(rule, place, message);
  }
}

/** The format of a snapshot's VM state. @throws FormatError `disk/qcow2/unknown-state` */
async function formatOf(state: ByteSource, image: ByteSource, snapshot: Snapshot): Promise<QemuReader> {
  const { head } = await peekHead(state, STATE_HEAD);
  if (qemuMigration.matches(head)) return qemuMigration.reader;
  const start = hexText(head, " ");
  throw formatError(
    QCOW2_RULES.unknownState,
    image.name,
    { offset: snapshot.offset },
    `${titleOf(snapshot)}: its VM state begins with ${start}`,
  );
}

/** The snapshot that is wanted. @throws FormatError when the table ends early without it; else as chooseSnapshot */
function chosenOf({ source, snapshots }: Qcow2Image, wanted: string | undefined, report: Report): Snapshot {
  try {
    return chooseSnapshot(snapshots, wanted, source.name);
  } catch (error) {
    const lost = report.findings.find(({ code }) => code === QCOW2_RULES.snapshotTable.code);
    if (lost === undefined) throw error;
    throw formatError(QCOW2_RULES.snapshotTable, source.name, { offset: lost.offset }, lost.message);
  }
}

const titleOf = ({ name, id }: Snapshot): string => (name === "" ? `snapshot ${id}` : `snapshot '${name}'`);

/** Hands findings within a snapshot's state on, with their place in the image. */
async function handOver(
  inner: StateReport,
  diagnostics: Diagnostics,
  state: VirtualSource,
  snapshot: Snapshot,
): Promise<void> {
  for (const { rule, place, message } of inner.kept) {
    const offset = (await placeOf(state, place.offset)) ?? snapshot.offset;
    const where = `${titleOf(snapshot)}, 0x${place.offset.toString(16)} of its state`;
    diagnostics.report(rule, { ...place, offset }, `${where}: ${message}`);
  }
}

/** What was found within a state, with the rules. */
class StateReport extends Report {
  readonly kept: { readonly rule: Rule; readonly place: FindingPlace; readonly message: string }[] = [];

  override report(rule: Rule, place: FindingPlace, message: string): void {
    super.report(rule, place, message);
    if (this.findings.length > this.kept.length) this.kept.push({ rule, place, message });
  }
}

async function placeOf(state: VirtualSource, offset: number): Promise<number | undefined> {
  try {
    return offset < state.size ? await state.imageOffset(offset) : undefined;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return undefined;
  }
}

/**
 * Checks an image's metadata and the VM state of snapshot `wanted` (an id or a name), of all if undefined.
 */
export async function verifyImage(
  input: ByteSource,
  diagnostics: Diagnostics,
  wanted: string | undefined,
): Promise<void> {
  // what is wrong with the table is asked for again when a snapshot is missing
  const seen = new PassingReport(diagnostics);
  const image = await readImage(input, seen);
  const withState = image.snapshots.filter(({ stateSize }) => stateSize > 0);
  const chosen = wanted === undefined ? withState : [chosenOf(image, wanted, seen)];
  if (chosen.length === 0)
    diagnostics.report(QCOW2_RULES.noState, { offset: 0 }, "no snapshot of the image has a guest's state");
  for (const snapshot of chosen) {
    const intact = await checkState(input, image.header, snapshot, diagnostics);
    // an encrypted or lost state begins like nothing
    if (intact === 0) continue;
    const state = stateSource(input, image.header, snapshot);
    const inner = new StateReport(input.name);
    const part = intact === state.size ? state : sliceSource(state, 0, intact);
    const format = await formatOf(part, input, snapshot);
    try {
      await format.verify?.(part, inner, {});
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      inner.addError(error);
    }
    await handOver(inner, diagnostics, state, snapshot);
  }
}

interface ChosenState {
  readonly state: ByteSource;
  readonly format: QemuReader;
  readonly warnings: readonly string[];
}

/** A snapshot's state; with `partial` what comes before its first damage. */
async function openState(image: Qcow2Image, snapshot: Snapshot, partial: boolean): Promise<ChosenState> {
  const { source, header } = image;
  const warnings: string[] = [];
  let state: ByteSource = stateSource(source, header, snapshot);
  if (partial) {
    const report = new Report(source.name);
    const intact = await checkState(source, header, snapshot, report);
    if (intact < state.size) {
      appendTo(
        warnings,
        report.findings.filter(({ severity }) => severity === "error").map(({ message }) => message),
      );
      state = sliceSource(state, 0, intact);
    }
  }
  return { state, format: await formatOf(state, source, snapshot), warnings };
}

/** Lists an image's snapshots, and shows the state of the one that is wanted, or the only one. */
export async function inspectImage(
  input: ByteSource,
  options: OpenOptions,
  wanted: string | undefined,
): Promise<Qcow2Inspection> {
  const report = new Report(input.name);
  const image = await readImage(input, report);
  const described = describeImage(image, report);
  const withState = image.snapshots.filter(({ stateSize }) => stateSize > 0);
  if (wanted === undefined && withState.length !== 1) return described;
  const snapshot = chosenOf(image, wanted, report);
  const details = {
    ...described.details,
    snapshot: snapshot.name === "" ? snapshot.id : snapshot.name,
  };
  try {
    const { state, format, warnings } = await openState(image, snapshot, true);
    const inside = await format.inspect(state, options);
    const { guest, memory, vcpus, software } = inside;
    return {
      ...described,
      guest,
      memory,
      vcpus,
      software,
      damage: [...described.damage, ...inside.damage],
      warnings: [...described.warnings, ...warnings, ...inside.warnings],
      details: { ...details, state: inside },
    };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    report.addError(error);
    return { ...described, damage: describeImage(image, report).damage, details };
  }
}

/** Opens the guest that was saved with the snapshot that is wanted, or the only one. @throws GuestscopeError */
export async function openImage(
  input: ByteSource,
  options: OpenOptions,
  wanted: string | undefined,
): Promise<GuestImage> {
  const report = new Report(input.name);
  const image = await readImage(input, report);
  const snapshot = chosenOf(image, wanted, report);
  const { state, format, warnings } = await openState(image, snapshot, options.partial === true);
  const guest = await format.openGuest(state, options);
  const { id, name, date, clock } = snapshot;
  return {
    ...guest,
    facts: {
      ...guest.facts,
      origin: `${guest.facts.origin}, ${titleOf(snapshot)} of a qcow2 disk image`,
      source: input.name,
      more: { ...guest.facts.more, snapshot: { id, name, date: new Date(date).toISOString(), clock } },
    },
    warnings: [...report.findings.map(({ message }) => message), ...warnings, ...guest.warnings],
  };
}
