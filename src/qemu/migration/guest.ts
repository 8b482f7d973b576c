import { StrictDiagnostics } from "../../findings/diagnostics.js";
import { Report } from "../../findings/report.js";
import { FIRST_PASS } from "../../guest/doubtful.js";
import type { Facts, GuestImage } from "../../guest/image.js";
import { withVmcoreInfo } from "../../guest/kernel/brought-vmcoreinfo.js";
import { withKernelLayout } from "../../guest/kernel/with-kernel-layout.js";
import type { OpenOptions } from "../../guest/options.js";
import { rescueWarnings } from "../../guest/salvage.js";
import type { ByteSource } from "../../io/byte-source.js";
import { FormatError, type Remedy } from "../../findings/errors.js";
import { doubtfulMemory, isCutInMemory } from "./doubtful.js";
import { bytesOf, fieldOf } from "./devices/devices.js";
import type { DomainMemory, MachineMap } from "./machine/map.js";
import { withStream } from "./spooled-stream.js";
import type { QevmStream } from "./stream.js";
import { QEMU_MIGRATION_RULES } from "./rules.js";
import { guestOf } from "./memory-of-stream.js";

/** What an envelope around the stream knows. */
export interface Envelope {
  /** Where the stream begins in `input`. */
  readonly start: number;
  readonly origin: string;
  /** Name of the input, where it isn't `input`'s. */
  readonly source?: string;
  readonly domain?: DomainMemory & { readonly name?: string; readonly uuid?: string };
  readonly more?: Readonly<Record<string, unknown>>;
  /** Whether who makes such an envelope pauses the guest before. */
  readonly isPausedFirst?: boolean;
  /** Problems of the envelope itself. */
  readonly warnings?: readonly string[];
}

/** A stream without an envelope. */
export const BARE: Envelope = { start: 0, origin: "QEMU migration stream" };
/** Findings listed one by one in the warnings; the rest are counted. */
const MOST_WARNINGS = 20;

/** What a user can do about a damaged stream. */
export const TAKE_INTACT: Remedy = { option: "partial", effect: "takes what is intact" };

/** Builds the model of a stream's guest. @throws FormatError on damage, unless `partial`. */
export async function openStream(
  input: ByteSource,
  options: OpenOptions,
  envelope: Envelope = BARE,
): Promise<GuestImage> {
  const report = new Report(envelope.source ?? input.name);
  const partial = options.partial === true;
  // a damaged page must be known before it is promised
  const how = { start: envelope.start, forReading: true, checkCompressed: partial, salvage: partial };
  const strict = new StrictDiagnostics(report.source, {
    onRemark: (rule, place, message) => report.report(rule, place, message),
    remedy: TAKE_INTACT,
  });
  return withStream(input, partial ? report : strict, options, how, async (stream, close) => {
    const { ram } = stream;
    if (ram === undefined)
      throw new FormatError(QEMU_MIGRATION_RULES.noRam, "the stream holds no memory", {
        source: report.source,
      });
    const { arch, isArchKnown, vcpus, map, memory, vmcoreInfo, isKernelUnsought } = await guestOf(
      stream,
      ram,
      envelope.domain ?? {},
      options.qemu ?? {},
      options.findKernel,
    );
    const problems = report.findings
      .filter(({ severity }) => severity !== "note")
      .map(({ message }) => message);
    const doubtful = doubtfulMemory(stream, ram, map, {
      runState: runState(stream),
      isPausedFirst: envelope.isPausedFirst,
    });
    const isFirstPassCut = isCutInMemory(stream, ram) && !ram.isAgain && envelope.isPausedFirst === true;
    const head = stream.headFacts;
    const rescue = { lost: stream.lost, doubtful, ...(head.length === 0 ? {} : { head }) };
    const dropped = problems.length - MOST_WARNINGS;
    const guest: GuestImage = {
      arch,
      memory,
      vcpus,
      facts: {
        ...factsOf(stream, map, envelope, report.source),
        ...(vmcoreInfo === undefined ? {} : { vmcoreInfo }),
      },
      warnings: [
        ...(envelope.warnings ?? []),
        ...rescueWarnings(rescue),
        ...(isFirstPassCut ? [FIRST_PASS] : []),
        ...problems.slice(0, MOST_WARNINGS),
        ...(dropped > 0 ? [`${dropped} more problems; verify lists them`] : []),
        ...map.warnings,
        ...(isArchKnown ? [] : [`no vCPU's state is in the stream: taken for ${arch.name}`]),
      ],
      ...(map.unplaced.length === 0 ? {} : { unplaced: map.unplaced }),
      ...(stream.lost.length + doubtful.length === 0 ? {} : { rescue }),
      blocks: ram.blocks.map(({ name, length }) => ({ name, size: length })),
      close: async () => close(),
    };
    return isKernelUnsought ? withVmcoreInfo(guest, "later") : withKernelLayout(guest);
  });
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
    specific: {
      kind: "qemu-stream",
      runState: runState(stream),
      capabilities: stream.configuration.capabilities,
      ramBlocks: map.ram.map((block) => block.name),
      map: map.evidence,
      envelope: envelope.more,
    },
  };
}
