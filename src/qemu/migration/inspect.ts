import { appendTo } from "../../binary/arrays.js";
import { Report } from "../../findings/report.js";
import type { OpenOptions } from "../../guest/options.js";
import type { GuestInspection } from "../../guest/inspection.js";
import { withChosenVmcoreInfo } from "../../guest/kernel/chosen-vmcoreinfo.js";
import { type Software, softwareOf } from "../../guest/kernel/software.js";
import { summarizeMemory } from "../../guest/summary.js";
import { summarizeVcpu } from "../../guest/vcpu.js";
import { type ByteSource, type ByteStream, isByteSource } from "../../io/byte-source.js";
import { GuestscopeError } from "../../findings/errors.js";
import type { Configuration } from "./configuration.js";
import type { DeviceState } from "./devices/devices.js";
import type { Envelope } from "./guest.js";
import { runState } from "./guest.js";
import type { MachineMap } from "./machine/map.js";
import type { BlockPages, RamBlock, Round } from "./ram/blocks.js";
import { vcpusOf } from "./devices/vcpus.js";
import type { CommandInfo, SectionInfo } from "./devices/section.js";
import { withStream } from "./spooled-stream.js";
import type { QevmStream } from "./stream.js";
import { guestOf, type StreamGuest } from "./memory-of-stream.js";

/** One block and what the stream holds of it. */
export interface InspectedBlock extends Omit<RamBlock, "firstFrame"> {
  /** Its pages after the whole stream. */
  readonly state: BlockPages;
}

export interface InspectedMapping {
  readonly start: number;
  readonly end: number;
  /** Undefined: which memory is here is unknown, for `reason`. */
  readonly block?: string;
  readonly offset?: number;
  readonly reason?: string | undefined;
}

/** The facts of a QEVM stream beside the guest's. */
export interface QevmDetails {
  /** What is around the stream: the header of a libvirt save. */
  readonly envelope?: Readonly<Record<string, unknown>> | undefined;
  readonly configuration: Configuration;
  /** Bytes of a page. */
  readonly pageSize: number;
  readonly complete: boolean;
  readonly runState?: string | undefined;
  readonly sections: readonly SectionInfo[];
  readonly commands: readonly CommandInfo[];
  readonly blocks: readonly InspectedBlock[];
  readonly rounds: readonly Round[];
  readonly description?: QevmStream["description"];
  readonly devices: readonly DeviceState[];
  readonly map: readonly InspectedMapping[];
  readonly mapEvidence: readonly string[];
}

/** What `inspect` says of a QEVM stream. */
export type QevmInspection = GuestInspection<"qemu-migration", QevmDetails>;

/** Reads a stream whole and describes it. Device state alone (as Xen saves it) is described as well. */
export async function inspectStream(
  input: ByteSource | ByteStream,
  options: OpenOptions = {},
  envelope: Partial<Envelope> = {},
): Promise<QevmInspection> {
  const report = new Report(envelope.source ?? input.name);
  const readable = isByteSource(input);
  const how = { start: envelope.start ?? 0, forReading: readable };
  return withStream(input, report, options, how, async (stream, close) => {
    const inspection = await describe(stream, report, options, { ...envelope, readable });
    close();
    return inspection;
  });
}

async function describe(
  stream: QevmStream,
  report: Report,
  options: OpenOptions,
  envelope: Partial<Envelope> & { readonly readable: boolean },
): Promise<QevmInspection> {
  const { arch, vcpus } = vcpusOf(stream.devices);
  const state = runState(stream);
  const warnings = [...(envelope.warnings ?? [])];
  const guest = await guestIn(stream, options, envelope, warnings);
  const software =
    guest !== undefined && envelope.readable ? await softwareIn(guest, options, warnings) : undefined;
  const { machine, uuid } = stream.configuration;
  return {
    schemaVersion: 2,
    kind: "qemu-migration",
    source: report.source,
    origin: envelope.origin ?? "QEMU migration stream",
    guest: {
      name: envelope.domain?.name,
      uuid: envelope.domain?.uuid ?? uuid,
      arch: arch?.name,
      hypervisor: "QEMU",
      type: machine ?? envelope.domain?.machine,
    },
    memory: guest === undefined ? undefined : summarizeMemory(guest.memory, guest.map.unplaced),
    vcpus: vcpus.map(summarizeVcpu),
    software,
    damage: report.findings.filter(({ severity }) => severity === "error"),
    warnings: [
      ...warnings,
      ...report.findings.filter(({ severity }) => severity === "warning").map(({ message }) => message),
    ],
    details: {
      envelope: envelope.more,
      configuration: stream.configuration,
      pageSize: stream.pageSize,
      complete: stream.complete,
      runState: state,
      sections: stream.sections,
      commands: stream.commands,
      blocks: (stream.ram?.blocks ?? []).map((block) => inspected(block, stream.pages.get(block))),
      rounds: stream.ram?.rounds ?? [],
      description: stream.description,
      devices: stream.devices,
      map: guest === undefined ? [] : rangesOf(stream, guest.map),
      mapEvidence: guest?.map.evidence ?? [],
    },
  };
}

function inspected(block: RamBlock, state: BlockPages | undefined): InspectedBlock {
  const { firstFrame, ...known } = block;
  void firstFrame;
  return { ...known, state: state ?? { present: 0, zero: 0, lost: 0, missing: block.pages } };
}

/** The guest as far as its memory can be laid out; why it can't is a warning. */
async function guestIn(
  stream: QevmStream,
  options: OpenOptions,
  envelope: Partial<Envelope>,
  warnings: string[],
): Promise<StreamGuest | undefined> {
  if (stream.ram === undefined) return undefined;
  try {
    const guest = await guestOf(
      stream,
      stream.ram,
      envelope.domain ?? {},
      options.qemu ?? {},
      options.findKernel !== false,
    );
    appendTo(warnings, guest.map.warnings);
    return guest;
  } catch (error) {
    if (!(error instanceof GuestscopeError)) throw error;
    warnings.push(error.message);
    return undefined;
  }
}

async function softwareIn(
  guest: StreamGuest,
  options: OpenOptions,
  warnings: string[],
): Promise<Software | undefined> {
  try {
    const { arch, memory, vcpus, vmcoreInfo } = guest;
    const facts = { origin: "", source: "", ...(vmcoreInfo === undefined ? {} : { vmcoreInfo }) };
    const chosen = await withChosenVmcoreInfo(
      { arch, memory, vcpus, facts, warnings: [] },
      options.vmcoreInfo,
    );
    appendTo(warnings, chosen.warnings);
    return await softwareOf(chosen, options);
  } catch (error) {
    // a damaged page: what is wrong with it is among the findings of verify
    if (!(error instanceof GuestscopeError)) throw error;
    warnings.push(error.message);
    return undefined;
  }
}

function rangesOf({ ram, pageSize }: QevmStream, { mappings }: MachineMap): InspectedMapping[] {
  return mappings.map(({ start, end, at, reason }): InspectedMapping => {
    if (at === undefined) return { start, end, reason: reason?.text };
    const frame = at / pageSize;
    const block = ram?.blocks.find((one) => frame >= one.firstFrame && frame < one.firstFrame + one.pages);
    if (block === undefined) return { start, end };
    return { start, end, block: block.name, offset: at - block.firstFrame * pageSize };
  });
}
