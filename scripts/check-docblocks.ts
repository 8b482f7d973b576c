import * as fs from "node:fs";
import * as path from "node:path";
import ts from "typescript";

/**
 * `npm run lint:docs`: every name that an entry point of the package exports has a docblock that says what it is.
 * Prints those that have none, where they are declared; exit status 1 if there are any.
 */
const root = path.resolve(import.meta.dirname, "..");

interface Published {
  readonly exports: Readonly<Record<string, string | { readonly default: string }>>;
}

/** Entry points, `.` or `./xen`, with their source files. */
function entries(): Map<string, string> {
  const manifest = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")) as Published;
  const files = Object.entries(manifest.exports).map(([name, entry]): [string, string] => [
    name,
    typeof entry === "string" ? entry : entry.default,
  ]);
  return new Map(
    files
      .filter(([, file]) => file.endsWith(".js"))
      .map(([name, file]) => [
        name,
        path.join(root, file.replace("./dist/", "src/").replace(/\.js$/, ".ts")),
      ]),
  );
}

function createProgram(files: readonly string[]): ts.Program {
  const settings = path.join(root, "tsconfig.json");
  const { config } = ts.readConfigFile(settings, (file) => ts.sys.readFile(file)) as { config: unknown };
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root);
  return ts.createProgram(files, options);
}

/** What an exported name stands for where it is declared. */
function declared(symbol: ts.Symbol, checker: ts.TypeChecker): ts.Symbol {
  return (symbol.flags & ts.SymbolFlags.Alias) === 0 ? symbol : checker.getAliasedSymbol(symbol);
}

function placeOf(symbol: ts.Symbol): string {
  const declaration = symbol.declarations?.[0];
  if (declaration === undefined) return "no declaration";
  const file = declaration.getSourceFile();
  const { line } = file.getLineAndCharacterOfPosition(declaration.getStart());
  return `${path.relative(root, file.fileName)}:${line + 1}`;
}

const points = entries();
const program = createProgram([...points.values()]);
const checker = program.getTypeChecker();
/** Place and name → entry points that export it. */
const bare = new Map<string, string[]>();
const seen = new Set<ts.Symbol>();
for (const [point, file] of points) {
  const source = program.getSourceFile(file);
  const module = source === undefined ? undefined : checker.getSymbolAtLocation(source);
  if (module === undefined) throw new Error(`${point}: ${file} exports nothing`);
  for (const exported of checker.getExportsOfModule(module)) {
    const symbol = declared(exported, checker);
    seen.add(symbol);
    if (ts.displayPartsToString(symbol.getDocumentationComment(checker)).trim() !== "") continue;
    const key = `${placeOf(symbol)} ${exported.name}`;
    bare.set(key, [...(bare.get(key) ?? []), point]);
  }
}
for (const [key, from] of [...bare].sort(([a], [b]) => (a < b ? -1 : 1)))
  process.stdout.write(`${key} (exported by ${from.join(", ")})\n`);
process.stdout.write(`${seen.size} public names, ${bare.size} without a docblock\n`);
process.exitCode = bare.size === 0 ? 0 : 1;
