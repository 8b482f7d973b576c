import { trimNuls } from "../../binary/text.js";
import { viewOf } from "../../binary/layout.js";
import { xlHeader, xlOptionalData } from "./layout.js";

/** What a domain's configuration says of it, from either of its forms: JSON or xl's own syntax. */
export interface XlConfig {
  readonly name?: string;
  readonly uuid?: string;
  readonly type?: string;
  readonly memoryKiB?: number;
  readonly maxMemoryKiB?: number;
  readonly vcpus?: number;
  /** The configuration as it is in the file. */
  readonly text: string;
}

/** The text of a configuration: UTF-8, which a NUL may end. */
export function decodeConfig(bytes: Uint8Array): string {
  return trimNuls(new TextDecoder().decode(bytes));
}

/**
 * The configuration in a little endian xl header with its optional data; undefined when those don't hold one whole.
 */
export function configInHeader(header: Uint8Array): string | undefined {
  const start = xlHeader.size + xlOptionalData.size;
  if (header.length < start) return undefined;
  const { configLength } = xlOptionalData.read(viewOf(header), xlHeader.size, "little");
  if (configLength > header.length - start) return undefined;
  return decodeConfig(header.subarray(start, start + configLength));
}

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
  return known(
    text,
    { name: member(create, "name"), uuid: member(create, "uuid"), type: member(create, "type") },
    {
      memoryKiB: member(build, "target_memkb"),
      maxMemoryKiB: member(build, "max_memkb"),
      vcpus: member(build, "max_vcpus"),
    },
  );
}

/** xl's own syntax: `name = "web01"`, memory in MiB. */
function fromSyntax(text: string): XlConfig {
  const lines = text.split("\n").map((line) => line.trim());
  const setting = (key: string): string | undefined => {
    for (const line of lines) {
      if (!line.startsWith(key)) continue;
      const rest = line.slice(key.length).trimStart();
      // up to the quote that ends it
      if (rest.startsWith("=")) return /^["']?([^"']*)/.exec(rest.slice(1).trimStart())?.[1]?.trim();
    }
    return undefined;
  };
  const number = (key: string, unit: number): number | undefined => {
    const value = Number(setting(key) ?? Number.NaN);
    return Number.isFinite(value) ? value * unit : undefined;
  };
  return known(
    text,
    { name: setting("name"), uuid: setting("uuid"), type: setting("type") ?? setting("builder") },
    {
      memoryKiB: number("memory", 1024),
      maxMemoryKiB: number("maxmem", 1024),
      vcpus: number("vcpus", 1),
    },
  );
}

/** Leaves out values of another type than they should be, and empty texts. */
function known(
  text: string,
  texts: Readonly<Record<"name" | "uuid" | "type", unknown>>,
  numbers: Readonly<Record<"memoryKiB" | "maxMemoryKiB" | "vcpus", unknown>>,
): XlConfig {
  const config: Partial<Record<keyof XlConfig, string | number>> = {};
  for (const [key, value] of Object.entries(texts))
    if (typeof value === "string" && value !== "") config[key as keyof XlConfig] = value;
  for (const [key, value] of Object.entries(numbers))
    if (typeof value === "number") config[key as keyof XlConfig] = value;
  return { ...(config as Omit<XlConfig, "text">), text };
}

function member(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}
