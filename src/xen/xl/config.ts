/** What a domain's configuration says of it, from either of its forms. */
export interface XlConfig {
  readonly name?: string;
  readonly uuid?: string;
  readonly type?: string;
  readonly memoryKiB?: number;
  readonly maxMemoryKiB?: number;
  readonly vcpus?: number;
  /** The configuration as it stands in the file. */
  readonly text: string;
}

/** The text of a configuration, which a NUL may end. */
export const decodeConfig = (bytes: Uint8Array): string =>
  new TextDecoder().decode(bytes).replace(/\0+$/, "");

/** Whether a configuration is JSON, as most are, and not xl's own syntax. */
export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Reads the facts people ask for out of a configuration; what isn't there is left out. */
export function summarizeConfig(text: string): XlConfig {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return fromSyntax(text);
  }
  const create = member(parsed, "c_info");
  const build = member(parsed, "b_info");
  return known(text, {
    name: member(create, "name"),
    uuid: member(create, "uuid"),
    type: member(create, "type"),
    memoryKiB: member(build, "target_memkb"),
    maxMemoryKiB: member(build, "max_memkb"),
    vcpus: member(build, "max_vcpus"),
  });
}

/** xl's own syntax: `name = "web01"`, memory in MiB. */
function fromSyntax(text: string): XlConfig {
  const setting = (key: string): string | undefined =>
    new RegExp(`^\\s*${key}\\s*=\\s*["']?([^"'\\n]*)`, "m").exec(text)?.[1]?.trim();
  const number = (key: string, unit: number): number | undefined => {
    const value = Number(setting(key) ?? Number.NaN);
    return Number.isFinite(value) ? value * unit : undefined;
  };
  return known(text, {
    name: setting("name"),
    uuid: setting("uuid"),
    type: setting("type") ?? setting("builder"),
    memoryKiB: number("memory", 1024),
    maxMemoryKiB: number("maxmem", 1024),
    vcpus: number("vcpus", 1),
  });
}

function known(text: string, values: Readonly<Record<string, unknown>>): XlConfig {
  const useful = Object.entries(values).filter(
    ([, value]) => (typeof value === "string" && value !== "") || typeof value === "number",
  );
  return { ...(Object.fromEntries(useful) as Omit<XlConfig, "text">), text };
}

function member(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}
