import { hexText } from "../../binary/text.js";
import type { GuestInspection } from "../../guest/inspection.js";
import type { DeviceStruct, DeviceValue } from "../../qemu/migration/devices/devices.js";
import type { InspectedMapping, QevmDetails, QevmInspection } from "../../qemu/migration/inspect.js";
import { hex, size, tableLines } from "../terminal.js";
import { memorySection } from "./memory.js";
import { count, counted, facts, grouped, indented, type PresentOptions, type Section } from "./presenter.js";

/** Rounds and elements shown before the rest is only counted. */
const MOST_ROUNDS = 12;
const MOST_BYTES = 32;

/** A QEMU migration stream, or a libvirt save file around one, as text. */
export function present(inspection: GuestInspection, options: PresentOptions): readonly Section[] {
  const { details, memory } = inspection as QevmInspection;
  const { configuration, description } = details;
  const parts = details.sections.reduce((sum, { parts: n }) => sum + n, 0);
  return [
    {
      title: "Stream",
      lines: facts([
        ["saved while", details.runState],
        ["complete", details.complete ? "yes" : "no: the stream ends early"],
        ["capabilities", configuration.capabilities.join(", ") || undefined],
        ["page size", details.pageSize === 4096 ? undefined : size(details.pageSize)],
        ["sections", `${counted(details.sections.length, "section")}, ${counted(parts, "further part")}`],
        ["commands", details.commands.map(({ command }) => command).join(", ") || undefined],
        [
          "description",
          description === undefined
            ? "none"
            : `${counted(description.devices, "device")} at ${hex(description.offset)}`,
        ],
        ...envelopeFacts(details),
      ]),
    },
    ...(memory === undefined ? [] : [memorySection(memory, options)]),
    { title: "RAM blocks", lines: blockLines(details) },
    {
      title: "Memory map",
      lines: [...details.map.map(mappingLine), ...details.mapEvidence.map((text) => `(${text})`)],
    },
    { title: "Rounds through memory", lines: roundLines(details, options) },
    { title: "Devices", lines: deviceLines(details, options) },
  ];
}

interface LibvirtFacts {
  readonly finished?: boolean;
  readonly wasRunning?: boolean;
  readonly compression: string;
  readonly domain: {
    readonly name?: string;
    readonly uuid?: string;
    readonly memory?: number;
    readonly vcpus?: number;
  };
}

function envelopeFacts({ envelope }: QevmDetails): [string, string | undefined][] {
  const libvirt = envelope?.["libvirt"] as LibvirtFacts | undefined;
  if (libvirt === undefined) return [];
  const { memory, vcpus } = libvirt.domain;
  const configured = [
    ...(memory === undefined ? [] : [size(memory)]),
    ...(vcpus === undefined ? [] : [counted(vcpus, "vCPU")]),
  ];
  return [
    ["configured", configured.join(", ") || undefined],
    ["compression", libvirt.compression],
    [
      "restore",
      libvirt.wasRunning === undefined
        ? undefined
        : libvirt.wasRunning
          ? "starts the guest"
          : "leaves the guest paused",
    ],
    ["save", libvirt.finished === false ? "not finished" : undefined],
  ];
}

/** A row a block; what no block has, pages sent again for one, has no column. */
function blockLines({ blocks }: QevmDetails): string[] {
  if (blocks.length === 0) return [];
  const columns: readonly (readonly [string, (block: QevmDetails["blocks"][number]) => number])[] = [
    ["contents", ({ state }) => state.present],
    ["zero", ({ state }) => state.zero],
    ["missing", ({ state }) => state.missing],
    ["lost", ({ state }) => state.lost],
    ["again", ({ counts }) => counts.again],
    ["xbzrle", ({ counts }) => counts.xbzrle],
    ["packed", ({ counts }) => counts.compressed],
  ];
  const shown = columns.filter(
    ([title, value]) => title === "contents" || blocks.some((block) => value(block) > 0),
  );
  const right = (title: string): { title: string; align: "right" } => ({ title, align: "right" });
  return [
    ...tableLines(
      [{ title: "block" }, right("bytes"), ...shown.map(([title]) => right(title))],
      blocks.map((block) => [
        block.name,
        count(block.length),
        ...shown.map(([, value]) => count(value(block))),
      ]),
    ),
    "(pages, by how they were sent)",
  ];
}

function mappingLine({ start, end, block, offset, reason }: InspectedMapping): string {
  const address = (value: number): string => value.toString(16).padStart(16, "0");
  const range = `${address(start)}-${address(end - 1)}`;
  if (block === undefined) return `${range} ${reason ?? "not known"}`;
  return `${range} ${block}${offset === undefined || offset === 0 ? "" : ` +${hex(offset)}`}`;
}

function roundLines({ rounds }: QevmDetails, { verbose }: PresentOptions): string[] {
  if (rounds.length < 2) return [];
  const shown = verbose ? rounds : rounds.slice(0, MOST_ROUNDS);
  const lines = shown.map(
    ({ offset, plain, zero, xbzrle, compressed }, i) =>
      `${String(i + 1).padStart(4)} at ${hex(offset)}: ${count(plain)} plain, ${count(zero)} zero, ${count(xbzrle)} differences, ${count(compressed)} compressed`,
  );
  const more = rounds.length - shown.length;
  return more > 0 ? [...lines, `and ${counted(more, "further round")}`] : lines;
}

function deviceLines({ devices, sections }: QevmDetails, { verbose }: PresentOptions): string[] {
  if (verbose)
    return devices.flatMap((device) => [
      `${device.section} ${device.instance}, version ${device.version}`,
      ...indented(structLines(device)),
    ]);
  const names = sections.filter(({ type }) => type === "FULL").map(({ name }) => name);
  return names.length === 0 ? [] : [grouped(names)];
}

function structLines({ fields, subsections }: DeviceStruct): string[] {
  return [
    ...fields.flatMap(({ name, value }) => valueLines(name, value)),
    ...subsections.flatMap((subsection) => [
      `${subsection.name}, version ${subsection.version}`,
      ...indented(structLines(subsection)),
    ]),
  ];
}

function valueLines(name: string, value: DeviceValue): string[] {
  if (typeof value === "number" || typeof value === "bigint") return [`${name} ${hex(value)}`];
  if (typeof value === "boolean") return [`${name} ${value ? "yes" : "no"}`];
  if (value instanceof Uint8Array) {
    const digits = hexText(value.subarray(0, MOST_BYTES));
    return [`${name} ${digits}${value.length > MOST_BYTES ? `… (${counted(value.length, "byte")})` : ""}`];
  }
  if (isList(value)) {
    if (value.every((one) => typeof one === "number" || typeof one === "bigint"))
      return [`${name} ${value.map((one) => hex(one)).join(" ")}`];
    return value.flatMap((one, i) => valueLines(`${name}[${i}]`, one));
  }
  return [name, ...indented(structLines(value))];
}

function isList(value: DeviceValue): value is readonly DeviceValue[] {
  return Array.isArray(value);
}
