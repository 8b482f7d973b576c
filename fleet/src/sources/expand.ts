import * as fs from "node:fs";
import { GuestscopeError, UsageError } from "guestscope";
import { systemError } from "guestscope/node";
import { glob, isDynamicPattern } from "tinyglobby";
import { fileSource, filesBelow } from "./local.js";
import { urlSource } from "./remote.js";
import type { Source } from "./source.js";

/** What a submission names. */
export interface Selection {
  /** Paths, directories, glob patterns, URLs. */
  readonly names: readonly string[];
  /** Files with one path or URL a line; `-` is standard input. */
  readonly lists: readonly string[];
}

/** Sources one by one, as they are found; what can't be used comes as the error that says so. */
export async function* expand(
  selection: Selection,
  wanted: (name: string) => boolean = () => true,
): AsyncGenerator<Source | GuestscopeError> {
  for await (const name of namesOf(selection)) {
    if (name instanceof GuestscopeError) yield name;
    else if (wanted(name)) yield await sourceOf(name).catch(asGuestscopeError);
  }
}

const isUrl = (name: string): boolean => /^https?:\/\//i.test(name);

function sourceOf(name: string): Promise<Source> {
  return isUrl(name) ? urlSource(name) : fileSource(name);
}

function asGuestscopeError(error: unknown): GuestscopeError {
  if (error instanceof GuestscopeError) return error;
  throw error;
}

async function* namesOf({ names, lists }: Selection): AsyncGenerator<string | GuestscopeError> {
  for (const name of names) {
    try {
      yield* expandName(name);
    } catch (error) {
      yield asGuestscopeError(error);
    }
  }
  for (const list of lists) {
    try {
      yield* linesOf(list);
    } catch (error) {
      yield asGuestscopeError(error);
    }
  }
}

async function* expandName(name: string): AsyncGenerator<string> {
  if (isUrl(name)) yield name;
  else if (fs.statSync(name, { throwIfNoEntry: false })?.isDirectory() === true) yield* filesBelow(name);
  else if (fs.existsSync(name) || !isDynamicPattern(name)) yield name;
  else {
    const found = await glob(name, {
      absolute: true,
      onlyFiles: true,
      followSymbolicLinks: false,
      dot: false,
    });
    if (found.length === 0) throw new UsageError("no file matches the pattern", { source: name });
    yield* found.sort();
  }
}

/** A line longer than this is no path and no URL. */
const LONGEST_LINE = 64 << 10;

/** Lines that are neither empty nor start with `#`. @throws SystemError, UsageError */
async function* linesOf(list: string): AsyncGenerator<string> {
  const input = list === "-" ? process.stdin : fs.createReadStream(list);
  input.setEncoding("utf8");
  let rest = "";
  try {
    for await (const piece of input as AsyncIterable<string>) {
      const lines = (rest + piece).split("\n");
      rest = lines.pop() ?? "";
      if (rest.length > LONGEST_LINE)
        throw new UsageError("is no list of sources: a line has no end", { source: list });
      yield* lines.map((line) => line.trim()).filter(isEntry);
    }
  } catch (error) {
    throw error instanceof GuestscopeError ? error : systemError(error, list);
  }
  if (isEntry(rest.trim())) yield rest.trim();
}

const isEntry = (line: string): boolean => line !== "" && !line.startsWith("#");
