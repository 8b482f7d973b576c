import type { GuestInspection } from "../../guest/inspection.js";
import type { EnvelopeDetails } from "../../xen/envelopes/envelope.js";
import type { EmulatorInspection } from "../../open/emulators.js";
import type { QevmInspection } from "../../qemu/migration/inspect.js";
import type { Finding } from "../../findings/finding.js";
import type { XenStreamDetails, XenStreamInspection } from "../../xen/stream/inspect.js";
import { hex, paint, size, tableLines } from "../terminal.js";
import { count, counted, factLines, indented, type PresentOptions } from "./presenter.js";
import { vcpuBlock } from "./vcpu.js";

const RANGES_SHOWN = 12;

/** Lines about a Xen migration stream: its layers, guest, records and emulators. */
export function present(inspection: GuestInspection, options: PresentOptions): readonly string[] {
  const { details, vcpus = [], damage } = inspection as XenStreamInspection;
  const blocks = [
    overview(details),
    memoryLines(details, options),
    recordLines(details, options),
    ...vcpus.map((vcpu) => vcpuBlock(vcpu, options)),
    hvmLines(details, options),
    emulatorLines(details, options),
    damageLines(damage),
    options.verbose && details.config !== undefined
      ? [heading("Configuration"), ...indented(details.config.text.trimEnd().split("\n"))]
      : [],
    factLines("Envelope", [["kind", (details as Partial<EnvelopeDetails>).envelope?.title]]),
  ];
  return blocks.filter((block) => block.length > 0).flatMap((block, i) => (i === 0 ? block : ["", ...block]));
}

const heading = (text: string): string => paint("bold", text);

function overview({
  layers,
  config,
  domain,
  tsc,
  policies,
  checkpoints,
  trailing,
}: XenStreamDetails): string[] {
  const layerText = layers.map(({ layer, version, order, converted }) =>
    [
      layer,
      ...(version === undefined ? [] : [String(version)]),
      ...(order === "big" ? ["(big endian)"] : []),
      ...(converted === true ? ["(converted from a legacy stream)"] : []),
    ].join(" "),
  );
  const memory = config?.memoryKiB === undefined ? undefined : size(config.memoryKiB * 1024);
  const most = config?.maxMemoryKiB === undefined ? undefined : size(config.maxMemoryKiB * 1024);
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
  return [
    ...indented(
      factLines(heading("Stream"), [
        ["layers", layerText.join(" > ")],
        ["domain", domain === undefined ? undefined : `${domain.type}${pv}`],
        [
          "saved by",
          domain === undefined ? undefined : domain.xen === undefined ? "a converter" : `Xen ${domain.xen}`,
        ],
        ["name", config?.name],
        ["uuid", config?.uuid],
        ["configured as", config?.type],
        [
          "memory",
          memory === undefined
            ? undefined
            : most === undefined || most === memory
              ? memory
              : `${memory} of at most ${most}`,
        ],
        ["vCPUs", config?.vcpus === undefined ? undefined : String(config.vcpus)],
        [
          "TSC",
          tsc === undefined
            ? undefined
            : `${tsc.mode}, ${count(tsc.khz)} kHz, ${(Number(tsc.nsec) / 1e9).toFixed(3)} s elapsed, incarnation ${tsc.incarnation}`,
        ],
        [
          "policies",
          policies === undefined
            ? undefined
            : `${counted(policies.cpuidLeaves, "CPUID leaf", "CPUID leaves")}, ${counted(policies.msrs, "MSR")}`,
        ],
        ["checkpoints", checkpoints === 0 ? undefined : count(checkpoints)],
        ["after END", trailingText],
      ]),
      0,
    ),
  ];
}

function memoryLines({ memory }: XenStreamDetails, { verbose }: PresentOptions): string[] {
  const { types, resent, sends, ranges, bytes } = memory;
  if (memory.entries === 0) return [];
  if (!memory.exact) {
    return [
      heading("Memory"),
      `  ${counted(memory.entries, "entry", "entries")}, ${counted(sends, "page")} of contents sent (too large a guest to list)`,
    ];
  }
  const kinds = Object.entries(types).map(([type, pages]) => `${count(pages)} ${type}`);
  const most = `${resent.mostSends}${resent.mostSends === 7 ? " or more" : ""}`;
  const again =
    resent.pages === 0
      ? []
      : [
          `  ${counted(sends, "page")} sent: ${counted(resent.pages, "page")} more than once, up to ${most} times`,
        ];
  const shown = verbose ? ranges : ranges.slice(0, RANGES_SHOWN);
  const rows = shown.map(({ start, end }) => [hex(start), hex(end - 1), size(end - start)]);
  const [, ...lines] = tableLines(
    [
      { title: "", align: "right" },
      { title: "", align: "right" },
      { title: "", align: "right" },
    ],
    rows,
  );
  const left = ranges.length - shown.length;
  return [
    `${heading("Memory")}  ${size(bytes)} of contents in ${counted(ranges.length, "range")}`,
    `  pages by type: ${kinds.join(", ")}`,
    ...again,
    ...indented(lines, 4),
    ...(left > 0 ? [paint("dim", `    … ${counted(left, "more range")}: --verbose shows them`)] : []),
  ];
}

function recordLines({ records }: XenStreamDetails, { verbose }: PresentOptions): string[] {
  if (records.length === 0) return [];
  if (!verbose) {
    const each = records.map(
      ({ layer, type, count: n }) => `${layer} ${type}${n === 1 ? "" : ` ×${count(n)}`}`,
    );
    return [`${heading("Records")}  ${each.join(", ")}`];
  }
  const [head = "", ...lines] = tableLines(
    [
      { title: "layer" },
      { title: "record" },
      { title: "number", align: "right" },
      { title: "bytes", align: "right" },
    ],
    records.map((row) => [row.layer, row.type, count(row.count), count(row.bytes)]),
  );
  return [heading("Records"), ...indented([paint("dim", head), ...lines])];
}

function hvmLines({ hvmParams, hvmContext }: XenStreamDetails, { verbose }: PresentOptions): string[] {
  const params = factLines(
    heading("HVM parameters"),
    Object.entries(hvmParams ?? {}).map(([name, value]) => [name, hex(value)] as const),
  );
  if (hvmContext === undefined) return params;
  const byName = new Map<string, { instances: number; bytes: number }>();
  for (const { name, length } of hvmContext) {
    const row = byName.get(name) ?? { instances: 0, bytes: 0 };
    byName.set(name, { instances: row.instances + 1, bytes: row.bytes + length });
  }
  if (!verbose) {
    const each = Array.from(byName, ([name, { instances: n }]) => (n === 1 ? name : `${name} ×${n}`));
    return [...params, ...(params.length === 0 ? [] : [""]), `${heading("HVM context")}  ${each.join(", ")}`];
  }
  const [head = "", ...lines] = tableLines(
    [{ title: "entry" }, { title: "number", align: "right" }, { title: "bytes", align: "right" }],
    [...byName].map(([name, { instances, bytes }]) => [name, count(instances), count(bytes)]),
  );
  const context = [heading("HVM context"), ...indented([paint("dim", head), ...lines])];
  return params.length === 0 ? context : [...params, "", ...context];
}

/** Devices by name: all with `verbose`, else in one paragraph. */
function sectionLines({ details, damage }: QevmInspection, verbose: boolean): string[] {
  const names = details.sections.map(({ name }) => name);
  const lines = verbose ? names : [names.join(", ")];
  return [...lines, ...damage.map(({ message }) => `damaged: ${message}`)];
}

function emulatorLines(
  { emulators, emulatorXenstore }: XenStreamDetails,
  { verbose }: PresentOptions,
): string[] {
  const keys = Object.entries(emulatorXenstore ?? {});
  const lines = (emulators as readonly EmulatorInspection[]).flatMap(({ emulator, index, bytes, state }) => [
    `  ${emulator} ${index}: ${size(bytes)} of state${state === undefined ? "" : `, ${counted(state.details.sections.length, "section")}`}`,
    ...(state === undefined ? [] : indented(sectionLines(state, verbose), 4)),
  ]);
  if (keys.length > 0) lines.push(`  ${counted(keys.length, "xenstore key")}`);
  if (verbose) lines.push(...keys.map(([key, value]) => `    ${key} = ${value}`));
  return lines.length === 0 ? [] : [heading("Emulators"), ...lines];
}

function damageLines(damage: readonly Finding[]): string[] {
  return damage.length === 0
    ? []
    : [
        paint(["red", "bold"], "Not read to its end"),
        ...indented(damage.map(({ offset, message }) => `at ${hex(offset)}: ${message}`)),
        "  'guestscope verify' says more",
      ];
}
