/** What libvirt's description of a domain says of it; what isn't there is left out. */
export interface LibvirtDomain {
  readonly name?: string | undefined;
  readonly uuid?: string | undefined;
  /** Bytes of memory at the time of the save, and at most. */
  readonly memory?: number | undefined;
  readonly maxMemory?: number | undefined;
  /** vCPUs online at the time of the save, and at most. */
  readonly vcpus?: number | undefined;
  readonly maxVcpus?: number | undefined;
}

/** Units of sizes as libvirt spells them ("Domain XML format", memory allocation); without one KiB. */
const UNITS: Readonly<Record<string, number>> = {
  b: 1,
  bytes: 1,
  KB: 1000,
  k: 1024,
  KiB: 1024,
  MB: 1e6,
  M: 2 ** 20,
  MiB: 2 ** 20,
  GB: 1e9,
  G: 2 ** 30,
  GiB: 2 ** 30,
  TB: 1e12,
  T: 2 ** 40,
  TiB: 2 ** 40,
};

const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/** Attributes and text of the first element of a name that holds text alone. */
function element(xml: string, name: string): { attributes: string; text: string } | undefined {
  const found = new RegExp(`<${name}(\\s[^<>]*)?>([^<]*)</${name}>`).exec(xml);
  if (found === null) return undefined;
  const [, attributes = "", text = ""] = found;
  return {
    attributes,
    text: text.replace(/&(lt|gt|amp|quot|apos);/g, (_, entity: string) => ENTITIES[entity] ?? ""),
  };
}

const attribute = (attributes: string, name: string): string | undefined =>
  new RegExp(`\\s${name}=['"]([^'"]*)['"]`).exec(attributes)?.[1];

function whole(text: string | undefined): number | undefined {
  return text !== undefined && /^\s*\d{1,15}\s*$/.test(text) ? Number(text) : undefined;
}

function sizeOf(xml: string, name: string): number | undefined {
  const found = element(xml, name);
  const count = whole(found?.text);
  const unit = UNITS[attribute(found?.attributes ?? "", "unit") ?? "KiB"];
  if (count === undefined || unit === undefined) return undefined;
  const bytes = count * unit;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Reads the facts people ask for out of libvirt's XML of a domain. */
export function describeDomain(xml: string): LibvirtDomain {
  const maxMemory = sizeOf(xml, "memory");
  const vcpu = element(xml, "vcpu");
  const maxVcpus = whole(vcpu?.text);
  return {
    name: element(xml, "name")?.text,
    uuid: element(xml, "uuid")?.text,
    memory: sizeOf(xml, "currentMemory") ?? maxMemory,
    maxMemory,
    vcpus: whole(attribute(vcpu?.attributes ?? "", "current")) ?? maxVcpus,
    maxVcpus,
  };
}
