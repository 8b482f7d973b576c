import { child, parseXml, type XmlElement } from "./xml.js";

/** What a domain's XML says that matters to its saved memory. */
export interface Domain {
  readonly name?: string;
  readonly uuid?: string;
  readonly title?: string;
  readonly arch?: string;
  readonly machine?: string;
  /** Bytes at start. */
  readonly memory?: number;
  readonly vcpus?: number;
  /** Bytes of each NUMA cell, by its id. */
  readonly cells?: readonly number[];
  /** DIMMs and NVDIMMs: id of the memory backend, guest-physical address. */
  readonly memoryDevices?: readonly { readonly id: string; readonly address: number }[];
}

const UNITS: Readonly<Record<string, number>> = {
  b: 1,
  bytes: 1,
  kb: 1000,
  k: 1024,
  kib: 1024,
  mb: 1e6,
  m: 2 ** 20,
  mib: 2 ** 20,
  gb: 1e9,
  g: 2 ** 30,
  gib: 2 ** 30,
  tb: 1e12,
  t: 2 ** 40,
  tib: 2 ** 40,
};

function bytes(text: string | undefined, unit: string | undefined): number | undefined {
  const value = Number(text?.trim() ?? Number.NaN) * (UNITS[(unit ?? "KiB").toLowerCase()] ?? Number.NaN);
  return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}

/** @throws XmlError */
export function parseDomain(xml: string): Domain {
  const parsed = parseXml(xml);
  const root = parsed.name === "domain" ? parsed : (child(parsed, "domain") ?? parsed);
  const text = (...path: string[]): string | undefined => child(root, ...path)?.text.trim();
  const type = child(root, "os", "type");
  const known: Record<string, unknown> = {
    name: text("name"),
    uuid: text("uuid"),
    title: text("title"),
    arch: type?.attributes.get("arch"),
    machine: type?.attributes.get("machine"),
    memory: bytes(text("memory"), child(root, "memory")?.attributes.get("unit")),
    vcpus: wholeNumber(text("vcpu")),
    cells: cellsOf(child(root, "cpu", "numa")),
    memoryDevices: memoryDevicesOf(child(root, "devices")),
  };
  return Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined)) as Domain;
}

function wholeNumber(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,6}$/.test(text) ? Number(text) : undefined;
}

function cellsOf(numa: XmlElement | undefined): readonly number[] | undefined {
  const cells = (numa?.children ?? []).filter(({ name }) => name === "cell");
  if (cells.length === 0) return undefined;
  const sizes: number[] = [];
  for (const [i, cell] of cells.entries()) {
    const size = bytes(cell.attributes.get("memory"), cell.attributes.get("unit"));
    const id = wholeNumber(cell.attributes.get("id")) ?? i;
    if (size === undefined || id >= cells.length) return undefined;
    sizes[id] = size;
  }
  return sizes.length === cells.length ? sizes : undefined;
}

function memoryDevicesOf(devices: XmlElement | undefined): Domain["memoryDevices"] {
  const found = (devices?.children ?? []).flatMap((device) => {
    const address = device.name === "memory" ? child(device, "address") : undefined;
    const slot = wholeNumber(address?.attributes.get("slot"));
    const base = Number(address?.attributes.get("base") ?? Number.NaN);
    if (address?.attributes.get("type") !== "dimm" || !Number.isSafeInteger(base) || base < 0) return [];
    // a device without a name of its own is called by its model and slot
    const alias =
      child(device, "alias")?.attributes.get("name") ?? `${device.attributes.get("model")}${slot}`;
    return [{ id: `mem${alias}`, address: base }];
  });
  return found.length === 0 ? undefined : found;
}
