import * as fs from "node:fs/promises";
import * as path from "node:path";
import { systemError } from "guestscope/node";
import { isAbandoned, ownedName } from "./owned-name.js";

/**
 * The place where an output is written before it gets its name. Each attempt has a directory of its own beside the final
 * name, so that two attempts at one job never write to the same file; the one that ends first names its file.
 */
export class Staging {
  /** Name for the program to write to. */
  readonly partial: string;
  readonly #final: string;
  readonly #directory: string;

  private constructor(final: string, directory: string) {
    this.#final = final;
    this.#directory = directory;
    this.partial = path.join(directory, "output");
  }

  /**
   * @param key the job's
   * @param longest seconds an attempt may take: what older ones left is removed, and what killed ones of this host left
   * @throws SystemError
   */
  static async open(final: string, key: string, longest: number): Promise<Staging> {
    const home = path.join(path.dirname(final), ".guestscope-fleet", key);
    const directory = path.join(home, ownedName());
    try {
      await fs.mkdir(home, { recursive: true, mode: 0o700 });
      for (const name of await fs.readdir(home)) {
        const other = path.join(home, name);
        const stat = await fs.stat(other).catch(() => undefined);
        const isOld = stat !== undefined && Date.now() - stat.mtimeMs > longest * 2000;
        if (isOld || isAbandoned(name)) await fs.rm(other, { recursive: true, force: true });
      }
      await fs.mkdir(directory, { mode: 0o700 });
    } catch (error) {
      throw systemError(error, directory);
    }
    return new Staging(final, directory);
  }

  /** Gives the output its name; one that stands there already stays. @returns its size in bytes. @throws SystemError */
  async commit(): Promise<number> {
    try {
      const handle = await fs.open(this.partial, "r");
      try {
        await handle.datasync();
      } finally {
        await handle.close();
      }
      await fs.link(this.partial, this.#final).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "EEXIST") throw error;
      });
      return (await fs.stat(this.#final)).size;
    } catch (error) {
      throw systemError(error, this.#final);
    }
  }

  /** Removes what is left of the attempt. */
  async close(): Promise<void> {
    await fs.rm(this.#directory, { recursive: true, force: true });
    // stays while another attempt is in it
    await fs.rmdir(path.dirname(this.#directory)).catch(() => undefined);
  }
}
