import type { Fact } from "./fact.js";
import type { Layer, Problem } from "./protocol.js";

/**
 * Inspections as the viewer shows them. This is the only file here that knows the documents' members: each format's
 * own, below the head that all share.
 */

type Document = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Document =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const objectOf = (value: unknown): Document => (isObject(value) ? value : {});
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const textOf = (value: unknown): string | undefined =>
  typeof value === "string" ? value : typeof value === "number" ? String(value) : undefined;
const numberOf = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);

/** What a document says beside the guest's model. */
export interface InspectionView {
  readonly name?: string;
  readonly facts: readonly Fact[];
  readonly layers: readonly Layer[];
  readonly software: readonly Fact[];
  readonly damage: readonly Problem[];
  readonly warnings: readonly string[];
}

/** A member at its place in the format's own part, or in the document itself where that has no such part. */
function member(document: Document, name: string): unknown {
  return objectOf(document.details)[name] ?? document[name];
}

function fact(key: string, value: unknown): Fact[] {
  const text = textOf(value);
  return text === undefined || text === "" ? [] : [{ key, value: text }];
}

/** @param size of the input, bytes */
export function viewInspection(inspection: object, size: number): InspectionView {
  const document = inspection as Document;
  const config = objectOf(member(document, "config"));
  const domain = objectOf(member(document, "domain"));
  const envelope = objectOf(member(document, "envelope"));
  const libvirt = objectOf(envelope.libvirt);
  const libvirtDomain = objectOf(libvirt.domain);
  const guest = objectOf(document.guest);
  const tsc = objectOf(member(document, "tsc"));
  const name = textOf(guest.name) ?? textOf(config.name) ?? textOf(libvirtDomain.name);
  const checkpoints = member(document, "checkpoints");
  return {
    ...(name === undefined ? {} : { name }),
    facts: [
      ...fact("uuid", guest.uuid ?? config.uuid ?? libvirtDomain.uuid),
      ...fact("guestType", guest.type ?? domain.type ?? member(document, "guestType")),
      ...fact("machine", objectOf(member(document, "configuration")).machine ?? member(document, "machine")),
      ...fact("accelerator", member(document, "accelerator")),
      ...fact("savedBy", domain.xen === undefined ? undefined : `Xen ${textOf(domain.xen) ?? ""}`),
      ...fact("qemuVersion", member(document, "qemuVersion")),
      ...fact("runState", member(document, "runState")),
      ...fact("configuredMemory", memoryText(config.memoryKiB)),
      ...fact("tsc", tscText(tsc)),
      ...(typeof checkpoints === "number" && checkpoints > 0 ? fact("checkpoints", checkpoints) : []),
      ...(isObject(checkpoints) && numberOf(checkpoints.begun) !== 0
        ? fact("checkpoints", `${textOf(checkpoints.complete) ?? 0} of ${textOf(checkpoints.begun) ?? 0}`)
        : []),
      ...fact("compression", listOf(member(document, "compressions")).join(", ")),
      ...fact("dumpLevel", member(document, "dumpLevel")),
      ...fact("uname", unameText(objectOf(member(document, "uname")))),
    ],
    layers: layersOf(document, size),
    software: softwareFacts(objectOf(document.software)),
    damage: listOf(document.damage).map(damageOf),
    warnings: listOf(document.warnings).flatMap((one) => textOf(one) ?? []),
  };
}

function memoryText(kib: unknown): string | undefined {
  const value = numberOf(kib);
  return value === undefined ? undefined : `${(value / 1024).toLocaleString("en-US")} MiB`;
}

function tscText({ mode, khz }: Document): string | undefined {
  const frequency = numberOf(khz);
  if (frequency === undefined) return textOf(mode);
  return `${textOf(mode) ?? ""}, ${(frequency / 1000).toLocaleString("en-US", { maximumFractionDigits: 1 })} MHz`;
}

function unameText({ sysname, nodename, release, version, machine }: Document): string | undefined {
  return release === undefined ? undefined : [sysname, nodename, release, version, machine].join(" ");
}

/** Layers from the outside in; each goes on to the end of the input as far as the document says. */
function layersOf(document: Document, size: number): Layer[] {
  const layers = listOf(member(document, "layers"));
  const known = layers.flatMap((one): Layer[] => {
    const { layer, offset, version } = objectOf(one);
    const start = numberOf(offset);
    if (typeof layer !== "string" || start === undefined) return [];
    const text = textOf(version);
    return [{ name: layer, start, end: size, ...(text === undefined ? {} : { version: text }) }];
  });
  return known;
}

/** Software as facts: `banner`, `release`, and whatever else is given in words. */
export function softwareFacts(software: object): Fact[] {
  const { banner, vmcoreInfo, code: _code, ...rest } = software as Document;
  return [
    ...fact("banner", banner),
    ...fact("release", objectOf(vmcoreInfo).release),
    ...Object.entries(rest).flatMap(([key, value]) => fact(key, value)),
  ];
}

function damageOf(damage: unknown): Problem {
  if (typeof damage === "string") {
    const offset = /^at 0x([0-9a-f]+): /.exec(damage);
    return {
      severity: "error",
      code: "",
      message: damage.slice(offset?.[0].length ?? 0),
      ...(offset === null ? {} : { offset: Number.parseInt(offset[1] ?? "", 16) }),
    };
  }
  const { message, code, severity, offset, spec } = objectOf(damage);
  const at = numberOf(offset);
  return {
    severity: severity === "warning" || severity === "note" ? severity : "error",
    code: textOf(code) ?? "",
    message: textOf(message) ?? "damaged",
    ...(at === undefined ? {} : { offset: at }),
    ...(typeof spec === "string" ? { spec } : {}),
  };
}

/** A section, segment or block of the file as a document lists it. */
export interface ListedPart {
  readonly start: number;
  readonly size: number;
  readonly name: string;
  readonly layer: string;
  readonly detail?: string;
}

/** Parts of the file that the document itself lists. */
export function listedParts(inspection: object): ListedPart[] {
  const document = inspection as Document;
  const parts: ListedPart[] = [];
  const add = (layer: string, name: string, start: unknown, length: unknown, detail?: string): void => {
    const at = numberOf(start);
    const bytes = numberOf(length);
    if (at === undefined || bytes === undefined) return;
    parts.push({ layer, name, start: at, size: bytes, ...(detail === undefined ? {} : { detail }) });
  };
  for (const one of listOf(member(document, "sections"))) {
    const { name, offset, size, instance, version, parts: more } = objectOf(one);
    const title = textOf(name) ?? "section";
    const told = [
      ...(numberOf(instance) === undefined ? [] : [`instance ${String(instance)}`]),
      ...(numberOf(version) === undefined ? [] : [`version ${String(version)}`]),
      ...(numberOf(more) === undefined || more === 0 ? [] : [`${String(more)} further parts`]),
    ].join(", ");
    add("section", title, offset, size, told === "" ? undefined : told);
  }
  for (const one of listOf(member(document, "segments"))) {
    const { physical, offset, there, fileSize, index } = objectOf(one);
    const at = numberOf(physical) ?? 0;
    add(
      "segment",
      `PT_LOAD ${textOf(index) ?? ""}`,
      offset,
      there ?? fileSize,
      `memory 0x${at.toString(16)}`,
    );
  }
  for (const one of listOf(member(document, "rounds"))) {
    const { offset, plain, zero } = objectOf(one);
    add("ram", "RAM part", offset, 0, `${textOf(plain) ?? 0} pages, ${textOf(zero) ?? 0} zero`);
  }
  const { offset, length, devices } = objectOf(member(document, "description"));
  add("description", "vmdescription", offset, length, `${textOf(devices) ?? 0} devices`);
  return parts;
}
