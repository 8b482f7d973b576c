/** A column of values further right than this share of the width is not kept up in folded lines. */
const MOST_INDENT = 0.5;

/** Where the continuation of a folded line starts: at the value after `name  `, else a little further right than the line. */
function hangingIndent(line: string, width: number): number {
  const label = /^ *(?:\S| (?! ))+ {2,}/.exec(line)?.[0].length ?? 0;
  const lead = /^ */.exec(line)?.[0].length ?? 0;
  const indent = label > 0 ? label : lead + 2;
  return indent <= width * MOST_INDENT ? indent : Math.min(lead + 2, Math.floor(width / 4));
}

/**
 * Positions at which a line is cut so that no piece is wider than `width` characters, each continuation moved right by
 * `indent`. Cuts fall on spaces where there are any.
 */
function cuts(characters: readonly string[], width: number, indent: number): number[] {
  const found: number[] = [];
  let start = 0;
  while (characters.length - start > width - (found.length === 0 ? 0 : indent)) {
    const most = start + width - (found.length === 0 ? 0 : indent);
    let end = most;
    while (end > start + indent && characters[end] !== " ") end -= 1;
    if (end <= start + indent) end = most;
    found.push(end);
    start = end;
    while (characters[start] === " ") start += 1;
  }
  return found;
}

const NEVER = /(?!)/;

/**
 * A line in pieces of at most `width` characters.
 * @param codes matches, in one group, what takes no room: colours
 */
export function foldLine(line: string, width: number, codes: RegExp = NEVER): string[] {
  const parts = line.split(codes);
  const text = parts.filter((_, i) => i % 2 === 0).join("");
  const characters = Array.from(text);
  if (characters.length <= width || width < 20) return [line];
  const indent = hangingIndent(text, width);
  const ends = new Set(cuts(characters, width, indent));
  const lines: string[] = [];
  let current = "";
  let at = 0;
  let skipping = false;
  for (const [i, part] of parts.entries()) {
    if (i % 2 === 1) {
      current += part;
      continue;
    }
    for (const character of Array.from(part)) {
      if (ends.has(at)) {
        lines.push(current);
        current = " ".repeat(indent);
        skipping = true;
      }
      at += 1;
      if (skipping && character === " ") continue;
      skipping = false;
      current += character;
    }
  }
  return [...lines, current];
}
