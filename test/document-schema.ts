import * as fs from "node:fs";
import * as path from "node:path";
import { Ajv } from "ajv";

const shipped = path.join(import.meta.dirname, "../schema");
let ajv: Ajv | undefined;

/**
 * Validates one JSON document of the programs against the schema in `schema/` that it names. Returns the document;
 * throws where it isn't JSON, names no schema of ours or doesn't fit it.
 */
export function validDocument(
  text: string,
  command: string,
): { readonly $schema: string; readonly kind: string } {
  const document = JSON.parse(text) as { $schema: string; kind: string };
  if (ajv === undefined) {
    ajv = new Ajv({ strict: false });
    for (const name of fs.readdirSync(shipped))
      ajv.addSchema(JSON.parse(fs.readFileSync(path.join(shipped, name), "utf8")) as object);
  }
  const validate = ajv.getSchema(document.$schema);
  if (validate === undefined) throw new Error(`${command}: no schema ${document.$schema}`);
  if (validate(document) !== true) throw new Error(`${command}: ${ajv.errorsText(validate.errors)}`);
  return document;
}
