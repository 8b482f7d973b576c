import { describeRecord } from "../../findings/finding.js";
import { Report } from "../../findings/report.js";
import {
  type Architecture,
  type Facts,
  type GuestImage,
  type VmcoreInfo,
  X86_64,
} from "../../guest/image.js";
import type { OpenOptions } from "../../guest/input-format.js";
import { findVmcoreInfo } from "../../guest/linux.js";
import type { MemoryRange, PhysicalMemory } from "../../guest/memory.js";
import type { ByteSource } from "../../io/byte-source.js";
import { loadCodec } from "../../io/codecs/codec.js";
import { FormatError, UsageError } from "../../io/errors.js";
import { bytesOf, fieldOf } from "./devices.js";
import { type DomainMemory, type MachineMap, mapMachine } from "./machine-map.js";
import { MappedMemory, type Mapping } from "./mapped-memory.js";
import { notePlace } from "./node-order.js";
import { processorsOf } from "./registers.js";
import { type QevmStream, readStream } from "./stream.js";

/** Settings (`OpenOptions.settings`) of QEMU's saved states. */
export interface MigrationSettings {
  /** `BLOCK@ADDRESS` each: where RAM blocks lie whose place the stream doesn't hold. */
  readonly map?: readonly string[];
  /** Blocks as they are, one behind another from address 0, without a machine's map: all, or those named. */
  readonly blocks?: true | readonly string[];
}

/** What an envelope around the stream knows. */
export interface Envelope {
  /** Where the stream begins in `input`. */
  readonly start: number;
  readonly origin: string;
  /** Name of the input, where it isn't `input`'s. */
  readonly source?: string;
  readonly domain?: DomainMemory & { readonly name?: string; readonly uuid?: string };
  readonly more?: Readonly<Record<string, unknown>>;
  /** Problems of the envelope itself. */
  readonly warnings?: readonly string[];
}

const BARE: Envelope = { start: 0, origin: "QEMU migration stream" };
/** Damage is told finding by finding up to here. */
const MOST_WARNINGS = 20;

function settingsOf(options: OpenOptions): MigrationSettings {
  const { map, blocks } = options.settings ?? {};
  const texts = (value: unknown): string[] | undefined =>
    typeof value === "string" ? value.split(",") : Array.isArray(value) ? value.map(String) : undefined;
  const placed = texts(map);
  const named = blocks === true ? true : texts(blocks);
  return {
    ...(placed === undefined ? {} : { map: placed }),
    ...(named === undefined ? {} : { blocks: named }),
  };
}

/** The first error of a report as an exception. */
function firstError(report: Report): FormatError | undefined {
  const finding = report.findings.find(({ severity }) => severity === "error");
  if (finding === undefined) return undefined;
  const more = report.count("error") - 1;
  const place: { source: string; offset: number; spec: string; record?: string } = {
    source: report.source,
    offset: finding.offset,
    spec: finding.spec,
  };
  if (finding.record !== undefined) place.record = describeRecord(finding.record);
  return new FormatError(
    finding.code,
    `${finding.message}${more > 0 ? ` (and ${more} more)` : ""}; --partial takes what is intact`,
    place,
  );
}

/** Builds the model of a stream's guest. @throws FormatError on damage, unless `partial`. */
export async function openStream(
  input: ByteSource,
  options: OpenOptions,
  envelope: Envelope = BARE,
): Promise<GuestImage> {
  const report = new Report(envelope.source ?? input.name);
  const settings = settingsOf(options);
  const partial = options.partial === true;
  const { progress, openSpool } = options;
  const spools: { close(): void }[] = [];
  const stream = await readStream(input, report, {
    start: envelope.start,
    forReading: true,
    // a damaged page must be known before it is promised
    checkCompressed: partial,
    zlib: await loadCodec("zlib"),
    spool:
      openSpool === undefined
        ? undefined
        : () => {
            const spool = openSpool();
            spools.push(spool);
            return spool;
          },
    progress: progress === undefined ? undefined : (done, total) => progress(done, total, "reading"),
  });
  const error = firstError(report);
  if (error !== undefined && !partial) throw error;
  if (stream.ram === undefined)
    throw new FormatError("qevm/ram/none", "the stream holds no memory", { source: report.source });
  const { arch, vcpus } = processorsOf(stream.devices);
  const { blocks } = settings;
  const map: MachineMap =
    blocks === undefined
      ? await mapMachine(stream, envelope.domain ?? {}, settings.map ?? [])
      : asBlocks(stream, blocks === true ? undefined : blocks);
  const memory = new MappedMemory(stream.ram.index.map, map.mappings);
  const known = arch ?? map.machine?.arch ?? X86_64;
  const vmcoreInfo =
    blocks === undefined ? await vmcoreInfoOf(stream, memory, map.mappings, known) : undefined;
  const problems = report.findings
    .filter(({ severity }) => severity !== "note")
    .map(({ message }) => message);
  const dropped = problems.length - MOST_WARNINGS;
  return {
    arch: known,
    memory,
    vcpus,
    facts: {
      ...factsOf(stream, map, envelope, report.source),
      ...(vmcoreInfo === undefined ? {} : { vmcoreInfo }),
    },
    warnings: [
      ...(envelope.warnings ?? []),
      ...problems.slice(0, MOST_WARNINGS),
      ...(dropped > 0 ? [`${dropped} more problems; verify lists them`] : []),
      ...map.warnings,
      ...(arch === undefined ? [`no processor's state is in the stream: taken for ${known.name}`] : []),
    ],
    blocks: stream.ram.blocks.map(({ name, length }) => ({ name, size: length })),
    close: async () => {
      for (const spool of spools.splice(0)) spool.close();
    },
  };
}

/** Blocks one behind another. */
function asBlocks(stream: QevmStream, names: readonly string[] | undefined): MachineMap {
  const all = stream.ram?.blocks ?? [];
  const chosen =
    names?.map((name) => {
      const block = all.find((one) => one.name === name);
      if (block === undefined)
        throw new UsageError(
          `--blocks ${name}: there is no such block, only ${all.map((one) => one.name).join(", ")}`,
        );
      return block;
    }) ?? all;
  const mappings: Mapping[] = [];
  let start = 0;
  for (const block of chosen) {
    mappings.push({ start, end: start + block.length, at: block.firstFrame * stream.pageSize });
    start += block.length;
  }
  return { machine: undefined, mappings, ram: chosen, evidence: ["blocks one behind another"], warnings: [] };
}

/** What was running when the guest was saved: `running`, `paused`. */
export function runState(stream: QevmStream): string | undefined {
  const device = stream.devices.find(({ section }) => section === "globalstate");
  const bytes = device === undefined ? undefined : bytesOf(fieldOf(device, "runstate"));
  if (bytes === undefined) return undefined;
  const text = String.fromCharCode(
    ...bytes.subarray(0, bytes.indexOf(0) === -1 ? bytes.length : bytes.indexOf(0)),
  );
  return /^[a-z-]+$/.test(text) ? text : undefined;
}

function factsOf(stream: QevmStream, map: MachineMap, envelope: Envelope, source: string): Facts {
  const machine = stream.configuration.machine ?? envelope.domain?.machine;
  const state = runState(stream);
  const uuid = envelope.domain?.uuid ?? stream.configuration.uuid;
  const name = envelope.domain?.name;
  return {
    origin: envelope.origin,
    source,
    hypervisor: "QEMU",
    ...(machine === undefined ? {} : { guestType: machine }),
    ...(name === undefined ? {} : { name }),
    ...(uuid === undefined ? {} : { uuid }),
    ...(stream.pageSize === 4096 ? {} : { pageSize: stream.pageSize }),
    more: {
      ...(state === undefined ? {} : { runState: state }),
      capabilities: stream.configuration.capabilities,
      ramBlocks: map.ram.map((block) => block.name),
      map: map.evidence,
      ...envelope.more,
    },
  };
}

/** VMCOREINFO from where the vmcoreinfo device says, else from pages that were seen to begin like it. */
async function vmcoreInfoOf(
  stream: QevmStream,
  memory: PhysicalMemory,
  mappings: readonly Mapping[],
  arch: Architecture,
): Promise<VmcoreInfo | undefined> {
  const { ram, pageSize } = stream;
  if (ram === undefined) return undefined;
  const within = (ranges: readonly MemoryRange[]): PhysicalMemory => ({
    ranges: () => ranges,
    read: (gpa, into) => memory.read(gpa, into),
    pieces: (start, end) => memory.pieces(start, end),
  });
  const page = (gpa: number): MemoryRange => ({ start: gpa, end: gpa + pageSize, presence: "present" });
  const told = notePlace(stream);
  if (told !== undefined) {
    const found = await findVmcoreInfo(within([page(told)]), arch);
    if (found !== undefined) return found;
  }
  // pages that came compressed or stand in a map of the file were not looked at on the way
  const all = ram.blocks.some(({ counts, mapped }) => counts.compressed > 0 || mapped !== undefined);
  if (all) return findVmcoreInfo(memory, arch);
  const seen = ram.noteFrames
    .flatMap((frame) =>
      mappings.flatMap(({ start, end, at }) =>
        at !== undefined && frame * pageSize >= at && frame * pageSize < at + (end - start)
          ? [start + frame * pageSize - at]
          : [],
      ),
    )
    .sort((a, b) => a - b);
  return findVmcoreInfo(within(seen.map(page)), arch);
}
