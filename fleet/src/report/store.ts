import { randomUUID } from "node:crypto";
import * as fs from "node:fs/promises";
import * as path from "node:path";
import { SystemError } from "guestscope";
import { systemError } from "guestscope/node";
import type { Result } from "../jobs/outcome.js";

const DIRECTORY = "results";

/**
 * Results in a directory, one file an input, named by the job's key: `results/3f/3f….json`. A file appears whole or not at
 * all, and only once; the directory may be shared by many hosts.
 */
export class ResultStore {
  readonly directory: string;
  readonly #made = new Set<string>();

  constructor(directory: string) {
    this.directory = path.resolve(directory);
  }

  /** Makes the directory and writes to it. @throws SystemError when results can't be written there */
  async prepare(): Promise<void> {
    const probe = path.join(this.directory, DIRECTORY, `.${randomUUID()}.tmp`);
    try {
      await fs.mkdir(path.dirname(probe), { recursive: true });
      await fs.writeFile(probe, "\n");
      await fs.rm(probe);
    } catch (error) {
      throw systemError(error, this.directory);
    }
  }

  #file(key: string): string {
    return path.join(this.directory, DIRECTORY, key.slice(0, 2), `${key}.json`);
  }

  /** The result of a job; undefined while there is none. @throws SystemError when it can't be read */
  async get(key: string): Promise<Result | undefined> {
    const file = this.#file(key);
    let text: string;
    try {
      text = await fs.readFile(file, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw systemError(error, file);
    }
    return parseResult(text, file);
  }

  /**
   * Adds a result. @param replace an earlier one is replaced; otherwise it stays
   * @returns whether it is this result that stands there now
   * @throws SystemError
   */
  async put(result: Result, replace: boolean): Promise<boolean> {
    const file = this.#file(result.key);
    const directory = path.dirname(file);
    const partial = path.join(directory, `.${result.key}.${randomUUID()}.tmp`);
    try {
      if (!this.#made.has(directory)) await fs.mkdir(directory, { recursive: true });
      this.#made.add(directory);
      await writeSynced(partial, `${JSON.stringify(result)}\n`);
      if (replace) await fs.rename(partial, file);
      else {
        await fs.link(partial, file);
        await fs.rm(partial);
      }
      return true;
    } catch (error) {
      await fs.rm(partial, { force: true }).catch(() => undefined);
      if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
      throw systemError(error, file);
    }
  }

  /** All results, in order of their keys. @throws SystemError when a directory or file can't be read */
  async *all(): AsyncGenerator<Result> {
    const root = path.join(this.directory, DIRECTORY);
    for (const part of (await listed(root)).filter((name) => /^[0-9a-f]{2}$/.test(name))) {
      const directory = path.join(root, part);
      for (const name of (await listed(directory)).filter((entry) => /^[0-9a-f]{32}\.json$/.test(entry))) {
        const file = path.join(directory, name);
        yield parseResult(
          await fs.readFile(file, "utf8").catch((error: unknown) => {
            throw systemError(error, file);
          }),
          file,
        );
      }
    }
  }
}

async function writeSynced(file: string, text: string): Promise<void> {
  const handle = await fs.open(file, "wx", 0o644);
  try {
    await handle.writeFile(text);
    await handle.datasync();
  } finally {
    await handle.close();
  }
}

async function listed(directory: string): Promise<string[]> {
  try {
    return (await fs.readdir(directory)).sort();
  } catch (error) {
    throw systemError(error, directory);
  }
}

function parseResult(text: string, file: string): Result {
  let result: Partial<Result> | null = null;
  try {
    result = JSON.parse(text) as Partial<Result> | null;
  } catch {
    // told below
  }
  if (result?.kind === "fleet-result" && result.schemaVersion === 1) return result as Result;
  throw new SystemError(
    "fleet/result-unreadable",
    "is no result of guestscope-fleet, or of another version",
    { source: file },
  );
}
