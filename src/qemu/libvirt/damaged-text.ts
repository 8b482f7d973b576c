import { latin1 } from "../../binary/layout.js";
import { type Domain, parseDomain } from "./domain.js";
import { parseXml, XmlError } from "./xml.js";

/*
 * libvirt writes XML an element a line, two spaces deeper for each level. Of damaged XML the elements that are whole by
 * themselves are found by that.
 */

/** Bytes, `end` exclusive. */
export interface Extent {
  readonly start: number;
  readonly end: number;
}

const isControl = (byte: number): boolean =>
  (byte < 0x20 && byte !== 0x0a && byte !== 0x09 && byte !== 0x0d) || byte === 0x7f;

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** From the first to the last byte that text can't have; undefined: there is none. */
export function damageOfText(bytes: Uint8Array): Extent | undefined {
  // bytes of other alphabets are text where all of them are UTF-8
  const hasOthers = isUtf8(bytes);
  const isBad = (byte: number): boolean => isControl(byte) || (byte >= 0x80 && !hasOthers);
  const start = bytes.findIndex(isBad);
  return start < 0 ? undefined : { start, end: bytes.findLastIndex(isBad) + 1 };
}

/** What a domain's XML says, as far as it is whole. */
export interface DamagedDomain {
  readonly domain: Domain;
  /** Undefined: it is whole. */
  readonly damage: Extent | undefined;
}

/** Reads a domain's XML; of damaged XML each element that is whole by itself. */
export function readDomain(bytes: Uint8Array): DamagedDomain {
  const damage = damageOfText(bytes);
  try {
    const domain = parseDomain(new TextDecoder().decode(bytes));
    if (damage === undefined) return { domain, damage };
  } catch (error) {
    if (!(error instanceof XmlError)) throw error;
    const rest = { start: Math.max(0, Math.min(error.at, bytes.length - 1)), end: bytes.length };
    return { domain: domainOfElements(bytes), damage: damage ?? rest };
  }
  return { domain: domainOfElements(bytes), damage };
}

/** Elements whose own children are looked at where they aren't whole. */
const PARTED: ReadonlySet<string> = new Set(["os", "devices"]);

function domainOfElements(bytes: Uint8Array): Domain {
  const lines = latin1(bytes).split("\n");
  const whole = wholeElements(lines, 2).join("\n");
  return parseDomain(`<domain>\n${whole}\n</domain>`);
}

/** The elements of a level that are whole, as text. */
function wholeElements(lines: readonly string[], indent: number): string[] {
  const margin = " ".repeat(indent);
  const isStart = (line: string): boolean => line.startsWith(`${margin}<`) && line[indent + 1] !== "/";
  const found: string[] = [];
  for (let at = 0; at < lines.length; ) {
    let end = at + 1;
    while (end < lines.length && !isStart(lines[end] ?? "")) end += 1;
    const part = lines.slice(at, end);
    at = end;
    const [first = ""] = part;
    if (!isStart(first)) continue;
    // what follows its end is another's
    const name = /^<([\w:-]+)/.exec(first.slice(indent))?.[1] ?? "";
    const last = part.indexOf(`${margin}</${name}>`);
    const element = part.slice(0, last < 0 ? 1 : last + 1);
    const text = decoded(element.join("\n"));
    if (text !== undefined && isWhole(text)) found.push(text);
    else if (indent === 2 && PARTED.has(name))
      found.push(`<${name}>\n${wholeElements(part.slice(1), indent + 2).join("\n")}\n</${name}>`);
  }
  return found;
}

/** Text of bytes, each one a character; undefined where they are none. */
function decoded(text: string): string | undefined {
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  return damageOfText(bytes) === undefined ? new TextDecoder().decode(bytes) : undefined;
}

function isWhole(text: string): boolean {
  try {
    parseXml(text);
    return true;
  } catch (error) {
    if (error instanceof XmlError) return false;
    throw error;
  }
}
