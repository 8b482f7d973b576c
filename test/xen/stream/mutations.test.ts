import * as fs from "node:fs";
import * as path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { bytesSource } from "../../../src/io/byte-source.js";
import { joinSources } from "../../../src/io/join.js";
import { verify } from "../../../src/open/open.js";
import { hasProgram, hasShared, scratch, sharedData, skipUnless, unzstd } from "../../shared.js";
import { encodeSave, type Items, MUTATIONS, parseSave } from "./mutations.js";

const skip = skipUnless(hasShared && hasProgram("zstd"), "shared data or zstd");
const { folder, cleanup } = scratch();
afterAll(cleanup);

interface Known {
  /** `pv64.save (…)`: the save that was edited. */
  readonly base: string;
  readonly mutation: string;
  /** Exit status of `verify`. */
  readonly verify: string;
  /** Of the drop-in, the first finding, cut after so many characters; its code is in brackets at its end. */
  readonly dropin_message: string;
}

const known = skip
  ? []
  : (JSON.parse(fs.readFileSync(path.join(sharedData, "xen420/mutations.json"), "utf8")) as Known[]);

/** Edits whose only finding is another one than the drop-in's. */
const OTHERS: Readonly<Record<string, string>> = {
  // the drop-in is called for an xl save; verify goes by what the file begins with
  "pv64 xl-magic": "open/damaged-head",
  "pvl xl-magic": "open/damaged-head",
  "pv64 xl-byteorder": "legacy/xl-header",
  "pvl xl-byteorder": "legacy/xl-header",
  // the drop-in takes it, as the stock program would; Xen's receiver refuses it
  "pv64 libxl-xenstore-data": "libxl/emulator/no-emulator",
};

const saves = new Map<string, Items>();
function itemsOf(name: string): Items {
  const file = path.join(sharedData, name === "pvl" ? "xen420" : "xen-v3", `${name}.save.zst`);
  const items = saves.get(name) ?? parseSave(fs.readFileSync(unzstd(file, folder)));
  saves.set(name, items);
  return items;
}

const nameOf = ({ base }: Known): string => base.replace(/\.save.*/, "");

describe.skipIf(skip).each([...new Set(known.map(nameOf))])("edits of %s", (name) => {
  it.each(known.filter((one) => nameOf(one) === name).map((one) => [one.mutation, one] as const))(
    "%s has the verdict that is known",
    async (mutation, one) => {
      const edit = MUTATIONS[mutation];
      if (edit === undefined) throw new Error(`no edit ${mutation}`);
      const parts = edit(itemsOf(name)).flatMap((part) =>
        Buffer.isBuffer(part) ? [part] : encodeSave([part]),
      );
      const { report } = await verify(
        joinSources(
          name,
          parts.map((part) => bytesSource(part)),
        ),
      );
      const errors = report.findings.filter(({ severity }) => severity === "error").map(({ code }) => code);
      const other = OTHERS[`${name} ${mutation}`];
      if (other !== undefined) return expect(errors).toEqual([other]);
      expect(report.valid, errors.join()).toBe(one.verify === "0");
      expect(errors.length > 0).toBe(!report.valid);
      // what is left of the code that the message had
      const code = / \[([a-z0-9/-]*)\]?$/.exec(one.dropin_message)?.[1];
      if (code !== undefined)
        expect(
          errors.some((error) => error.startsWith(code)),
          `${code} in ${errors.join()}`,
        ).toBe(true);
    },
  );
});
