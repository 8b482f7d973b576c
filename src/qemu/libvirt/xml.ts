/** One element: text of its own, attributes and children in their order. */
export interface XmlElement {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: readonly XmlElement[];
  readonly text: string;
}

/** Why a text is no XML; `at` counts characters. */
export class XmlError extends Error {
  readonly at: number;

  constructor(message: string, at: number) {
    super(message);
    this.at = at;
  }
}

/** Deeper than any domain. */
const DEEPEST = 100;
const ENTITIES = new Map([
  ["lt", "<"],
  ["gt", ">"],
  ["amp", "&"],
  ["quot", '"'],
  ["apos", "'"],
]);

interface Open {
  name: string;
  attributes: Map<string, string>;
  children: XmlElement[];
  text: string;
}

/**
 * Reads the XML that libvirt writes: elements, attributes, text, comments, CDATA, the five entities and numbered
 * characters. Document types are refused, so nothing expands. @throws XmlError
 */
export function parseXml(source: string): XmlElement {
  const stack: Open[] = [];
  let root: XmlElement | undefined;
  const token =
    /<!--[\s\S]*?-->|<\?[\s\S]*?\?>|<!\[CDATA\[([\s\S]*?)\]\]>|<\/([^\s<>/]+)\s*>|<([^\s<>/!?]+)((?:\s+[^\s=<>/]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)>|([^<]+)/y;
  const close = (element: Open): void => {
    const parent = stack.at(-1);
    if (parent !== undefined) parent.children.push(element);
    else root = element;
  };
  while (token.lastIndex < source.length) {
    const at = token.lastIndex;
    const match = token.exec(source);
    if (match === null) throw new XmlError("no element, comment or text", at);
    const [, cdata, end, start, attributes = "", empty, text] = match;
    const top = stack.at(-1);
    if (start !== undefined) {
      if (root !== undefined || stack.length >= DEEPEST) throw new XmlError("an element too many", at);
      const element: Open = { name: start, attributes: attributesOf(attributes, at), children: [], text: "" };
      if (empty === "/") close(element);
      else stack.push(element);
    } else if (end !== undefined) {
      if (top?.name !== end) throw new XmlError(`</${end}> closes nothing`, at);
      stack.pop();
      close(top);
    } else if (text !== undefined) {
      if (top !== undefined) top.text += unescaped(text, at);
      else if (text.trim() !== "") throw new XmlError("text outside any element", at);
    } else if (cdata !== undefined && top !== undefined) top.text += cdata;
  }
  if (root === undefined || stack.length > 0) throw new XmlError("it ends inside an element", source.length);
  return root;
}

function attributesOf(text: string, at: number): Map<string, string> {
  const attributes = new Map<string, string>();
  for (const [, name = "", double, single = ""] of text.matchAll(/([^\s=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')/g))
    attributes.set(name, unescaped(double ?? single, at));
  return attributes;
}

function unescaped(text: string, at: number): string {
  return text.replace(
    /&(?:#(\d{1,7})|#x([0-9a-fA-F]{1,6})|(\w+));?/g,
    (all: string, decimal?: string, hex?: string, name?: string) => {
      const code =
        decimal !== undefined ? Number(decimal) : hex !== undefined ? Number(`0x${hex}`) : undefined;
      if (code !== undefined && code <= 0x10ffff) return String.fromCodePoint(code);
      const character = ENTITIES.get(name ?? "");
      if (character === undefined) throw new XmlError(`unknown character ${all}`, at);
      return character;
    },
  );
}

/** The first element at a path below `element`: `child(domain, "os", "type")`. */
export function child(element: XmlElement, ...path: readonly string[]): XmlElement | undefined {
  let found: XmlElement | undefined = element;
  for (const name of path) found = found?.children.find((one) => one.name === name);
  return found;
}
