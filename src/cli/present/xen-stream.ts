import type { EmulatorInspection } from "../../open/emulators.js";
import type { GuestInspection, MemorySummary } from "../../guest/inspection.js";
import type { QevmInspection } from "../../qemu/migration/inspect.js";
import type { EnvelopeDetails } from "../../xen/envelopes/envelope.js";
import type { XenStreamDetails, XenStreamInspection } from "../../xen/stream/inspect.js";
import { hex, size, tableLines } from "../terminal.js";
import { memorySection, rangeLines } from "./memory.js";
import {
  count,
  counted,
  facts,
  grouped,
  indented,
  type PresentOptions,
  type Section,
  tscText,
} from "./presenter.js";

/** A Xen migration stream as text: its layers, guest, records and emulators. */
export function present(inspection: GuestInspection, options: PresentOptions): readonly Section[] {
  const { details, memory } = inspection as XenStreamInspection;
  return [
    { title: "Stream", lines: overview(details) },
    streamMemory(details, memory, options),
    recordSection(details, options),
    {
      title: "HVM parameters",
      lines: facts(
        Object.entries(details.hvmParams ?? {}).map(([name, value]) => [name, hex(value)] as const),
      ),
    },
    contextSection(details, options),
    { title: "Emulators", lines: emulatorLines(details, options) },
    ...(options.verbose && details.config !== undefined
      ? [{ title: "Configuration", lines: details.config.text.trimEnd().split("\n") }]
      : []),
  ];
}

function overview(details: XenStreamDetails): string[] {
  const { layers, config, domain, tsc, policies, checkpoints, trailing } = details;
  const layerText = layers.map(({ layer, version, order, converted }) =>
    [
      layer,
      ...(version === undefined ? [] : [String(version)]),
      ...(order === "big" ? ["(big endian)"] : []),
      ...(converted === true ? ["(converted from a legacy stream)"] : []),
    ].join(" "),
  );
  const pv =
    domain?.guestWidth === undefined
      ? ""
      : `, ${domain.guestWidth * 8}-bit, ${domain.ptLevels ?? "?"} levels of page tables`;
  const trailingText =
    trailing === undefined
      ? undefined
      : trailing.handshake
        ? "xl's handshake: captured from a live migration"
        : `${size(trailing.bytes)} of other data`;
  return facts([
    ["envelope", (details as Partial<EnvelopeDetails>).envelope?.title],
    ["layers", layerText.length === 0 ? "their headers are damaged" : layerText.join(" > ")],
    ["domain", domain === undefined ? undefined : `${domain.type}${pv}`],
    [
      "saved by",
      domain === undefined ? undefined : domain.xen === undefined ? "a converter" : `Xen ${domain.xen}`,
    ],
    ["configured", configured(config ?? byLibvirt(details))],
    ["TSC", tsc === undefined ? undefined : tscText(tsc)],
    [
      "policies",
      policies === undefined
        ? undefined
        : `${counted(policies.cpuidLeaves, "CPUID leaf", "CPUID leaves")}, ${counted(policies.msrs, "MSR")}`,
    ],
    ["checkpoints", checkpoints === 0 ? undefined : count(checkpoints)],
    ["after END", trailingText],
  ]);
}

/** What libvirt's description of the domain says, as xl's. */
function byLibvirt(details: XenStreamDetails): Configured | undefined {
  const { libvirtDomain: domain } = details as Partial<EnvelopeDetails>;
  if (domain === undefined) return undefined;
  const { memory, maxMemory, vcpus } = domain;
  return {
    ...(memory === undefined ? {} : { memoryKiB: memory / 1024 }),
    ...(maxMemory === undefined ? {} : { maxMemoryKiB: maxMemory / 1024 }),
    ...(vcpus === undefined ? {} : { vcpus }),
  };
}

type Configured = Omit<NonNullable<XenStreamDetails["config"]>, "text">;

/** `hvm, 16.0 MiB of at most 32.0 MiB, 1 vCPU`: what the domain was given. */
function configured(config: Configured | undefined): string | undefined {
  if (config === undefined) return undefined;
  const { type, memoryKiB, maxMemoryKiB, vcpus } = config;
  const most =
    maxMemoryKiB === undefined || maxMemoryKiB === memoryKiB
      ? ""
      : ` of at most ${size(maxMemoryKiB * 1024)}`;
  const parts = [
    type,
    memoryKiB === undefined ? undefined : `${size(memoryKiB * 1024)}${most}`,
    vcpus === undefined ? undefined : counted(vcpus, "vCPU"),
  ];
  return parts.filter((part) => part !== undefined).join(", ") || undefined;
}

/** Guest memory, or where that could not be laid out what was sent, with how its pages were sent. */
function streamMemory(
  { memory: sent }: XenStreamDetails,
  memory: MemorySummary | undefined,
  options: PresentOptions,
): Section {
  const { types, resent, sends, ranges, bytes, entries, exact } = sent;
  const title = "Memory";
  if (entries === 0 && memory === undefined) return { title, lines: [] };
  if (!exact && memory === undefined) {
    const note = `${counted(entries, "entry", "entries")}, ${counted(sends, "page")} of contents sent (too large a guest to list)`;
    return { title, note, lines: [] };
  }
  const { lines, ...section } =
    memory === undefined
      ? {
          title,
          note: `${size(bytes)} of contents in ${counted(ranges.length, "range")}`,
          lines: rangeLines(ranges, 0, options),
        }
      : memorySection(memory, options);
  const kinds = Object.entries(types).map(([type, pages]) => `${count(pages)} ${type}`);
  const most = `${resent.mostSends}${resent.mostSends === 7 ? " or more" : ""}`;
  return {
    ...section,
    lines: [
      ...lines,
      ...(kinds.length === 0 ? [] : [`pages by type: ${kinds.join(", ")}`]),
      ...(resent.pages === 0
        ? []
        : [
            `${counted(sends, "page")} sent: ${counted(resent.pages, "page")} more than once, up to ${most} times`,
          ]),
    ],
  };
}

function recordSection({ records }: XenStreamDetails, { verbose }: PresentOptions): Section {
  const title = "Records";
  if (records.length === 0) return { title, lines: [] };
  if (!verbose) {
    const each = records.map(
      ({ layer, type, count: n }) => `${layer} ${type}${n === 1 ? "" : ` ×${count(n)}`}`,
    );
    return { title, lines: [each.join(", ")] };
  }
  const columns = [
    { title: "layer" },
    { title: "record" },
    { title: "number", align: "right" as const },
    { title: "bytes", align: "right" as const },
  ];
  const rows = records.map((row) => [row.layer, row.type, count(row.count), count(row.bytes)]);
  return { title, lines: tableLines(columns, rows) };
}

function contextSection({ hvmContext = [] }: XenStreamDetails, { verbose }: PresentOptions): Section {
  const title = "HVM context";
  if (hvmContext.length === 0) return { title, lines: [] };
  if (!verbose) return { title, lines: [grouped(hvmContext.map(({ name }) => name))] };
  const byName = new Map<string, { instances: number; bytes: number }>();
  for (const { name, length } of hvmContext) {
    const row = byName.get(name) ?? { instances: 0, bytes: 0 };
    byName.set(name, { instances: row.instances + 1, bytes: row.bytes + length });
  }
  const columns = [
    { title: "entry" },
    { title: "number", align: "right" as const },
    { title: "bytes", align: "right" as const },
  ];
  const rows = [...byName].map(([name, { instances, bytes }]) => [name, count(instances), count(bytes)]);
  return { title, lines: tableLines(columns, rows) };
}

/** Devices by name: all with `verbose`, else in one paragraph. */
function deviceLines({ details, damage }: QevmInspection, verbose: boolean): string[] {
  const names = details.sections.map(({ name }) => name);
  const lines = verbose ? names : names.length === 0 ? [] : [grouped(names)];
  return [...lines, ...damage.map(({ message }) => `damaged: ${message}`)];
}

function emulatorLines(
  { emulators, emulatorXenstore }: XenStreamDetails,
  { verbose }: PresentOptions,
): string[] {
  const keys = Object.entries(emulatorXenstore ?? {});
  return [
    ...(emulators as readonly EmulatorInspection[]).flatMap(({ emulator, index, bytes, state }) => [
      `${emulator} ${index}: ${size(bytes)} of state${state === undefined ? "" : `, ${counted(state.details.sections.length, "section")}`}`,
      ...(state === undefined ? [] : indented(deviceLines(state, verbose))),
    ]),
    ...(keys.length > 0 ? [counted(keys.length, "xenstore key")] : []),
    ...(verbose ? indented(keys.map(([key, value]) => `${key} = ${value}`)) : []),
  ];
}
