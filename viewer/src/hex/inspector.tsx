import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Space } from "../../../src/open/session/protocol.js";
import { bytes as sizeText, hex, visible } from "../format.js";
import type { OpenFile } from "../state/files.js";
import { go } from "../state/route.js";
import { texts } from "../texts.js";
import { BLOCK, type Blocks } from "./blocks.js";
import { decodeBits, decodeNumbers, decodeText, pointerAt } from "./decode.js";
import { useSymbols } from "./symbols.js";
import { type Selection, selectionEnd, selectionStart } from "./rows.js";

const MOST_TEXT = 256;

interface InspectorProps {
  readonly file: OpenFile;
  readonly blocks: Blocks;
  readonly space: Space;
  readonly selection: Selection | undefined;
  /** The symbol that the selection begins in; empty: none. */
  readonly symbol: string;
  /** A space to follow virtual addresses in, if there is one. */
  readonly virtual: Space | undefined;
  readonly hasMemory: boolean;
}

/** Bytes from an address on that are there. */
function collect(blocks: Blocks, from: bigint, most: number): Uint8Array {
  const out = new Uint8Array(most);
  for (let i = 0; i < most; i += 1) {
    const address = from + BigInt(i);
    const block = blocks.at(address);
    const at = Number(address % BigInt(BLOCK));
    if (block === undefined || (block.states[at] ?? 2) > 1) return out.subarray(0, i);
    out[i] = block.bytes[at] ?? 0;
  }
  return out;
}

/** The pointer that the selected bytes are, if they are one. */
function pointerUnder(blocks: Blocks, selection: Selection | undefined, little: boolean): readonly bigint[] {
  if (selection === undefined) return [];
  const pointer = pointerAt(collect(blocks, selectionStart(selection), 8), little);
  return pointer === undefined ? [] : [pointer];
}

/** What the selected bytes mean. */
export function Inspector(props: InspectorProps): JSX.Element {
  const { file, blocks, space, selection, symbol, virtual, hasMemory } = props;
  const [little, setLittle] = useState(true);
  void blocks.version.value;
  const pointed = useSymbols(file, "kernel", pointerUnder(blocks, selection, little));
  if (selection === undefined) return <p class="quiet">{texts.hex.nothing}</p>;
  const start = selectionStart(selection);
  const length = Number(selectionEnd(selection) - start);
  // one byte is where something begins; more are what it is
  const bytes = collect(blocks, start, length === 1 ? 8 : Math.min(length, MOST_TEXT));
  const text = collect(blocks, start, Math.max(16, Math.min(length, MOST_TEXT)));
  const pointer = pointerAt(bytes, little);
  const block = blocks.at(start);
  const at = Number(start % BigInt(BLOCK));
  const physical = block?.physical.find(({ offset, length: size }) => at >= offset && at < offset + size);
  const gpa = physical === undefined ? undefined : physical.gpa + at - physical.offset;
  const follow = (to: Space, address: bigint): void =>
    go({ view: "hex", params: { space: to, at: hex(address) } });
  return (
    <>
      <dl class="readings">
        <div>
          <dt>{texts.hex.goLabel}</dt>
          <dd>
            <code>{hex(start)}</code>
            {length > 1 && <span class="quiet"> {sizeText(length)}</span>}
          </dd>
        </div>
        {symbol !== "" && (
          <div>
            <dt>{texts.hex.symbol}</dt>
            <dd>
              <code>{visible(symbol)}</code>
            </dd>
          </div>
        )}
        {gpa !== undefined && (
          <div>
            <dt>{texts.hex.physicalAddress}</dt>
            <dd>
              <button type="button" class="link" onClick={() => follow("physical", BigInt(gpa))}>
                <code>{hex(gpa)}</code>
              </button>
            </dd>
          </div>
        )}
        {decodeNumbers(bytes, little).map(({ name, value }) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <code>{value}</code>
            </dd>
          </div>
        ))}
        {bytes.length > 0 && (
          <div>
            <dt>{texts.hex.binary}</dt>
            <dd>
              <code>{decodeBits(bytes)}</code>
            </dd>
          </div>
        )}
        {text.length > 0 && (
          <div>
            <dt>{texts.hex.text}</dt>
            <dd>
              <code class="text-value">{decodeText(text)}</code>
            </dd>
          </div>
        )}
      </dl>
      <div class="segmented" role="group">
        {[true, false].map((one) => (
          <button
            key={String(one)}
            type="button"
            aria-pressed={little === one}
            onClick={() => setLittle(one)}
          >
            {one ? texts.hex.little : texts.hex.big}
          </button>
        ))}
      </div>
      {pointer !== undefined && hasMemory && (
        <div class="follow">
          <p>
            {texts.hex.follow} <code>{hex(pointer)}</code>{" "}
            <span class="symbol">{visible(pointed.get(pointer) ?? "")}</span>
          </p>
          {virtual !== undefined && (
            <button type="button" class="button" onClick={() => follow(virtual, pointer)}>
              {texts.hex.followVirtual}
            </button>
          )}
          {space !== "file" && (
            <button type="button" class="button" onClick={() => follow("physical", pointer)}>
              {texts.hex.followPhysical}
            </button>
          )}
        </div>
      )}
    </>
  );
}
