import type { JSX } from "preact";
import { padded, visible } from "../format.js";
import { texts } from "../texts.js";
import { BLOCK, type Blocks, STATES } from "./blocks.js";

export interface Selection {
  readonly anchor: bigint;
  readonly focus: bigint;
}

export const selectionStart = ({ anchor, focus }: Selection): bigint => (anchor < focus ? anchor : focus);
export const selectionEnd = ({ anchor, focus }: Selection): bigint => (anchor < focus ? focus : anchor) + 1n;

interface RowProps {
  readonly address: bigint;
  readonly columns: number;
  readonly digits: number;
  readonly blocks: Blocks;
  readonly selection: Selection | undefined;
  /** The symbol that begins in this row; empty: none. */
  readonly symbol: string;
  /** There is no room beside the characters: the symbol takes the upper digits of the address. */
  readonly isNarrow: boolean;
  readonly isHit: (address: bigint) => boolean;
}

const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Class of a byte: how its text is coloured. */
function classOf(byte: number, state: number): string {
  if (state > 1) return "gone";
  if (byte === 0) return "zero";
  if (byte >= 0x20 && byte < 0x7f) return "text";
  return byte === 0xff ? "ones" : "other";
}

/** Position of a column in characters: pairs with a space between, one more after every eighth. */
export const columnAt = (column: number): number => column * 3 + Math.floor(column / 8);

/** One row of bytes: address, hexadecimal, characters. */
export function Row({
  address,
  columns,
  digits,
  blocks,
  selection,
  symbol,
  isNarrow,
  isHit,
}: RowProps): JSX.Element {
  const block = blocks.at(address);
  const at = Number(address % BigInt(BLOCK));
  const parts: { kind: string; hex: string; text: string }[] = [];
  let gone = block !== undefined;
  for (let column = 0; column < columns; column += 1) {
    const byte = block?.bytes[at + column] ?? 0;
    const state = block === undefined ? 2 : (block.states[at + column] ?? 2);
    if (state <= 1) gone = false;
    const kind = block === undefined ? "pending" : classOf(byte, state);
    const hex = state > 1 ? "··" : (HEX[byte] ?? "");
    const text = state > 1 ? " " : byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·";
    const space = column + 1 === columns ? "" : column % 8 === 7 ? "  " : " ";
    const last = parts.at(-1);
    if (last?.kind === kind) {
      last.hex += hex + space;
      last.text += text;
    } else parts.push({ kind, hex: hex + space, text });
  }
  const state = gone ? STATES[block?.states[at] ?? 0] : undefined;
  const reason = gone
    ? block?.reasons.find(({ offset, length }) => at >= offset && at < offset + length)?.reason
    : undefined;
  const marks: JSX.Element[] = [];
  if (selection !== undefined) {
    const from = Number(bounded(selectionStart(selection) - address, columns));
    const to = Number(bounded(selectionEnd(selection) - address, columns));
    if (to > from) marks.push(...boxes("selected", from, to));
  }
  for (let column = 0; column < columns; column += 1) {
    if (isHit(address + BigInt(column))) marks.push(...boxes("hit", column, column + 1));
  }
  const shown = padded(address, digits);
  return (
    <div class={gone ? "hex-row is-gone" : "hex-row"}>
      <span class="hex-address">
        {symbol !== "" && isNarrow ? (
          <span class="hex-symbol">{within(visible(symbol), digits - 5)} </span>
        ) : (
          shown.slice(0, -4)
        )}
        <b>{shown.slice(-4)}</b>
      </span>
      <span class="hex-bytes" style={{ width: `${columnAt(columns - 1) + 2}ch` }}>
        {marks.filter((_, i) => i % 2 === 0)}
        {gone ? (
          <span class="hex-gone">
            {texts.hex.states[state ?? "absent"]}
            {reason !== undefined && `: ${visible(reason)}`}
          </span>
        ) : (
          parts.map(({ kind, hex }, i) => (
            <span key={i} class={`b-${kind}`}>
              {hex}
            </span>
          ))
        )}
      </span>
      <span class="hex-text" style={{ width: `${columns}ch` }}>
        {marks.filter((_, i) => i % 2 === 1)}
        {!gone &&
          parts.map(({ kind, text }, i) => (
            <span key={i} class={`b-${kind}`}>
              {text}
            </span>
          ))}
      </span>
      {symbol !== "" && !isNarrow && <span class="hex-symbol">{visible(symbol)}</span>}
    </div>
  );
}

const within = (text: string, most: number): string =>
  text.length > most ? `${text.slice(0, most - 1)}…` : text.padEnd(most);

const bounded = (value: bigint, most: number): bigint =>
  value < 0n ? 0n : value > BigInt(most) ? BigInt(most) : value;

/** A mark under bytes [from, to): one box among the bytes, one among the characters. */
function boxes(kind: string, from: number, to: number): readonly JSX.Element[] {
  const left = columnAt(from);
  const right = columnAt(to - 1) + 2;
  return [
    <i
      key={`${kind}${from}`}
      class={`mark ${kind}`}
      style={{ left: `${left}ch`, width: `${right - left}ch` }}
    />,
    <i
      key={`${kind}${from}`}
      class={`mark ${kind}`}
      style={{ left: `${from}ch`, width: `${to - from}ch` }}
    />,
  ];
}
