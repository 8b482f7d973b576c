import { createRequire } from "node:module";
import * as fs from "node:fs";
import * as path from "node:path";
import { pathToFileURL } from "node:url";
import {
  type BaseType,
  type CompletedConfig,
  createFormatter,
  createParser,
  createProgram,
  DEFAULT_CONFIG,
  ObjectType,
  type Schema,
  SchemaGenerator,
  StringType,
  type SubNodeParser,
  UnknownType,
} from "ts-json-schema-generator";
import type { Node, TypeReferenceNode } from "typescript";

/**
 * `npm run schema`: the JSON Schema of every document that `--json` prints, from the types in src/cli/documents.ts,
 * a file for each `kind` in schema/. A test holds them up to date.
 */
const root = path.resolve(import.meta.dirname, "..");
/** The generator's own TypeScript: node kinds are numbers that differ between versions. */
const fromGenerator = createRequire(import.meta.resolve("ts-json-schema-generator"));
const ts = fromGenerator("typescript") as typeof import("typescript");

const config: CompletedConfig = {
  ...DEFAULT_CONFIG,
  path: path.join(root, "src/cli/documents.ts"),
  tsconfig: path.join(root, "tsconfig.json"),
  type: "Document",
  skipTypeCheck: true,
  expose: "export",
  topRef: true,
  // documents grow members within a schemaVersion
  additionalProperties: true,
};

/** What the command line's JSON makes of types that JSON lacks: bigint and bytes are hexadecimal text, a Map an object. */
class JsonForms implements SubNodeParser {
  supportsNode(node: Node): boolean {
    return node.kind === ts.SyntaxKind.BigIntKeyword || this.#name(node) !== undefined;
  }

  createType(node: Node): BaseType {
    const name = this.#name(node);
    return name !== "Uint8Array" && name !== undefined
      ? new ObjectType(`json-${name}`, [], [], new UnknownType(false))
      : new StringType(false);
  }

  #name(node: Node): string | undefined {
    if (node.kind !== ts.SyntaxKind.TypeReference) return undefined;
    const { typeName } = node as TypeReferenceNode;
    const name = "text" in typeName ? typeName.text : undefined;
    if (name === undefined) return undefined;
    // the generator takes an object with numbers as names for an array
    const [key] = (node as TypeReferenceNode).typeArguments ?? [];
    if (name === "Record" && key?.kind === ts.SyntaxKind.NumberKeyword) return name;
    return /^(Uint8Array|(Readonly)?Map)$/.test(name) ? name : undefined;
  }
}

/** Every definition that a schema refers to, through others too. */
function referenced(
  schema: unknown,
  all: Readonly<Record<string, unknown>>,
  found: Set<string>,
): Set<string> {
  const text = JSON.stringify(schema);
  for (const [, encoded = ""] of text.matchAll(/"\$ref":"#\/definitions\/([^"]+)"/g)) {
    const name = decodeURIComponent(encoded);
    if (found.has(name)) continue;
    found.add(name);
    referenced(all[name], all, found);
  }
  return found;
}

interface Definition extends Record<string, unknown> {
  readonly properties?: Readonly<Record<string, { readonly const?: unknown }>>;
}

/** The objects that a definition stands for: through references and unions. */
function alternatives(
  definition: Definition,
  all: Readonly<Record<string, Definition>>,
): readonly Definition[] {
  const { $ref, anyOf } = definition as { readonly $ref?: string; readonly anyOf?: readonly Definition[] };
  if (anyOf !== undefined) return anyOf.flatMap((member) => alternatives(member, all));
  if ($ref === undefined) return [definition];
  const name = decodeURIComponent($ref.replace("#/definitions/", ""));
  return alternatives(all[name] ?? {}, all);
}

/** Schemas by `kind`. */
export function schemas(): ReadonlyMap<string, Schema> {
  const program = createProgram(config);
  const parser = createParser(program, config, (chain) => chain.addNodeParser(new JsonForms()));
  const generator = new SchemaGenerator(program, parser, createFormatter(config), config);
  const whole = generator.createSchema("Document");
  const definitions = (whole.definitions ?? {}) as Readonly<Record<string, Definition>>;
  return new Map(
    alternatives({ $ref: "#/definitions/Document" }, definitions).map((document) => {
      const kind = String(document.properties?.["kind"]?.const);
      const version = String(document.properties?.["schemaVersion"]?.const);
      const used = [...referenced(document, definitions, new Set())].sort();
      const schema = {
        $schema: "http://json-schema.org/draft-07/schema#",
        $id: `urn:guestscope:schema:${kind}:${version}`,
        title: kind,
        ...document,
        definitions: Object.fromEntries(used.map((name) => [name, definitions[name] ?? {}])),
      };
      return [kind, schema as Schema];
    }),
  );
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const folder = path.join(root, "schema");
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder);
  for (const [kind, schema] of schemas())
    fs.writeFileSync(path.join(folder, `${kind}.json`), `${JSON.stringify(schema, undefined, 1)}\n`);
}
