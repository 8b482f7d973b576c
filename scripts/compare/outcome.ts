import { createHash } from "node:crypto";
import * as fs from "node:fs";

/** What one operation did, without what may differ between two runs of the same program. */
export interface Outcome {
  /** Exit status, or `timeout`. */
  readonly status: number | "timeout";
  /** Findings: `code severity offset record`, sorted; codes printed on standard error too. */
  readonly findings: readonly string[];
  /** Leaf values of the JSON document, sorted; texts of several words apart. */
  readonly values: readonly string[];
  /** The same values with the key each has. */
  readonly pairs: readonly string[];
  /** Texts of several words, from the document and from standard error, sorted. */
  readonly texts: readonly string[];
  /** Drop-in programs: what they print is a contract. */
  readonly printed: readonly string[];
  /** sha256 of the file written, `none`, or undefined where none is asked for. */
  readonly file?: string;
}

export interface Ran {
  readonly status: number | "timeout";
  readonly stdout: string;
  readonly stderr: string;
}

/** Keys whose values are about the program or the run. */
const IGNORED_KEYS = new Set(["schemaVersion", "toolVersion", "toolversion", "source", "output", "path"]);

/** Makes texts of both vocabularies comparable. */
const renamed = (text: string): string =>
  text
    .replace(/octet/g, "byte")
    .replace(/Octet/g, "Byte")
    .replace(/OCTET/g, "BYTE")
    .replace(/\ban byte/g, "a byte");

/** Takes from a run what a comparison looks at. `folder` is the scratch folder, which differs between runs. */
export function outcomeOf(
  ran: Ran,
  options: { folder: string; checkout: string; contract: boolean; file?: string | undefined },
): Outcome {
  const clean = (text: string): string =>
    renamed(text.replaceAll(options.folder, "@").replaceAll(options.checkout, "%"))
      .split("\n")
      .filter((line) => !/^\s+at .*[:)]/.test(line))
      .join("\n");
  const stdout = clean(ran.stdout);
  const stderr = clean(ran.stderr);
  const file = options.file === undefined ? {} : { file: options.file };
  const codes = Array.from(
    stderr.matchAll(/\[([a-z0-9-]+(?:\/[A-Za-z0-9-]+)+)\]/g),
    ([, code]) => `stderr ${code}`,
  );
  if (options.contract) {
    const printed = [`stdout ${stdout}`, `stderr ${stderr}`];
    return { status: ran.status, findings: [], values: [], pairs: [], texts: [], printed, ...file };
  }
  const lines = stderr.split("\n").filter((line) => line !== "");
  const parsed = parse(stdout);
  if (parsed === undefined) {
    const texts = [...lines, ...stdout.split("\n").filter((line) => line !== "")];
    return { status: ran.status, findings: codes, values: [], pairs: [], texts, printed: [], ...file };
  }
  const leaves = new Leaves();
  leaves.walk(parsed);
  return {
    status: ran.status,
    findings: [...leaves.findings, ...codes].sort(),
    values: leaves.values.sort(),
    pairs: leaves.pairs.sort(),
    texts: [...leaves.texts, ...lines].sort(),
    printed: [],
    ...file,
  };
}

function parse(text: string): unknown {
  if (!text.startsWith("{") && !text.startsWith("[")) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

class Leaves {
  readonly findings: string[] = [];
  readonly values: string[] = [];
  readonly pairs: string[] = [];
  readonly texts: string[] = [];

  /** Depth is that of our own documents: a few levels. */
  walk(value: unknown, key = ""): void {
    if (Array.isArray(value)) for (const item of value) this.walk(item, key);
    else if (typeof value === "object" && value !== null) this.#object(value as Record<string, unknown>);
    else this.#leaf(value, key);
  }

  #object(value: Record<string, unknown>): void {
    const { code, severity } = value;
    if (typeof code === "string" && typeof severity === "string") {
      const place = (value["place"] ?? {}) as Record<string, unknown>;
      const offset = value["offset"] ?? place["offset"];
      const record = value["record"] ?? place["record"];
      this.findings.push(
        `${code} ${severity} ${typeof offset === "number" ? offset : "-"} ${record === undefined ? "-" : sortedJson(record)}`,
      );
      for (const key of ["message", "spec", "explanation"]) {
        const text = value[key];
        if (typeof text === "string") this.texts.push(`${code}: ${text}`);
      }
      return;
    }
    for (const [key, item] of Object.entries(value)) if (!IGNORED_KEYS.has(key)) this.walk(item, key);
  }

  #leaf(value: unknown, key: string): void {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    if (typeof value === "string" && (/\s/.test(text) || text.startsWith("@"))) this.texts.push(text);
    else {
      this.values.push(text);
      this.pairs.push(`${key}=${text}`);
    }
  }
}

/** JSON with sorted keys, so that their order doesn't matter. */
const sortedJson = (value: unknown): string =>
  JSON.stringify(value, (_, item: unknown) =>
    typeof item === "object" && item !== null && !Array.isArray(item)
      ? Object.fromEntries(Object.entries(item).sort(([a], [b]) => (a < b ? -1 : 1)))
      : item,
  );

/** sha256 and size of a file; `none` where there is no file. */
export async function digestOf(file: string): Promise<string> {
  if (!fs.existsSync(file)) return "none";
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of fs.createReadStream(file, { highWaterMark: 1 << 22 })) {
    hash.update(chunk as Buffer);
    size += (chunk as Buffer).length;
  }
  return `${hash.digest("hex")} ${size}`;
}
