import type { ArgumentParser } from "argparse";
import { UsageError } from "../findings/errors.js";
import type { RawOptions, RawPiece } from "../guest/options.js";

/** What the options of raw images say. */
export interface RawArguments {
  readonly format?: string;
  readonly base?: string;
  readonly piece?: readonly string[];
  readonly arch?: string;
}

/** Options that take an input for raw memory. */
export function addRawOptions(parser: ArgumentParser): void {
  const group = parser.add_argument_group("raw memory");
  group.add_argument("--format", {
    choices: ["raw"],
    help: "raw: memory as it is, without a header; it can't be recognised",
  });
  group.add_argument("--base", {
    metavar: "ADDRESS",
    help: "guest-physical address of the first byte of INPUT (default 0); of a part: ADDRESS:OFFSET+LENGTH",
  });
  group.add_argument("--piece", {
    metavar: "FILE@ADDRESS",
    action: "append",
    help: "more memory: FILE, or a part of it as FILE@ADDRESS:OFFSET+LENGTH; may be given again",
  });
}

/** How raw memory is opened, if the options ask for one. @throws UsageError */
export function rawOptions({ format, base, piece, arch }: RawArguments): RawOptions | undefined {
  if (format !== "raw") {
    if (base !== undefined) throw new UsageError("--base goes with --format raw");
    if (piece !== undefined) throw new UsageError("--piece goes with --format raw");
    return undefined;
  }
  return {
    ...(base === undefined ? {} : parseBase(base)),
    pieces: (piece ?? []).map(parsePiece),
    arch,
  };
}

const NUMBER = "0x[0-9a-f]{1,14}|\\d{1,15}";
const PLACE = `(${NUMBER})(?::(${NUMBER})(?:\\+(${NUMBER}))?)?$`;
const BASE = new RegExp(`^${PLACE}`, "i");
const PIECE = new RegExp(`^(.+)@${PLACE}`, "i");

function parseBase(text: string): RawOptions {
  const [, address, offset, length] = BASE.exec(text) ?? [];
  if (address === undefined)
    throw new UsageError(`--base '${text}' is not ADDRESS, ADDRESS:OFFSET or ADDRESS:OFFSET+LENGTH`);
  return { base: numberOf(address), ...partOf(offset, length) };
}

function parsePiece(text: string): RawPiece {
  const [, path, address, offset, length] = PIECE.exec(text) ?? [];
  if (path === undefined || address === undefined)
    throw new UsageError(
      `--piece '${text}' is not FILE@ADDRESS, FILE@ADDRESS:OFFSET or FILE@ADDRESS:OFFSET+LENGTH`,
    );
  return { path, address: numberOf(address), ...partOf(offset, length) };
}

function partOf(
  offset: string | undefined,
  length: string | undefined,
): { readonly offset?: number; readonly length?: number } {
  return {
    ...(offset === undefined ? {} : { offset: numberOf(offset) }),
    ...(length === undefined ? {} : { length: numberOf(length) }),
  };
}

function numberOf(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new UsageError(`'${text}' is beyond any address`);
  return value;
}
