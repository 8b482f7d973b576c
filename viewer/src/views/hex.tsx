// over 350 lines: one view whose scrolling, keys and inspector share its state
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { MemoryTable, Processor, Space } from "../../../src/open/session/protocol.js";
import { hex, parseAddress } from "../format.js";
import { Blocks } from "../hex/blocks.js";
import { Hits } from "../hex/hits.js";
import { Inspector } from "../hex/inspector.js";
import { columnAt, Row, type Selection, selectionStart } from "../hex/rows.js";
import { Search } from "../hex/search.js";
import { beginsInRow, hasKernel, useSymbols } from "../hex/symbols.js";
import { linearScale, memoryScale, type Scale, Slider } from "../hex/slider.js";
import { load, type OpenFile } from "../state/files.js";
import { bindKey } from "../state/keys.js";
import { go, note, route } from "../state/route.js";
import { texts } from "../texts.js";
import { BackAndForward } from "../ui/back-and-forward.js";
import { useSize } from "../ui/canvas.js";

const ROW_HEIGHT = 20;
const NARROW = 620;
/** From this width on symbols are beside the characters. */
const ROOMY = 880;
const LAST = 0xffff_ffff_ffff_ffffn;
/** Rows read beyond those that show, so that scrolling meets what is there. */
const AHEAD = 64n;

function parseSpace(text: string | undefined): Space {
  if (text === "file" || text === "kernel") return text;
  return text !== undefined && /^(vcpu|pid):\d{1,10}$/.test(text) ? (text as Space) : "physical";
}

interface Known {
  readonly table: MemoryTable | undefined;
  readonly processors: readonly Processor[];
  readonly size: number | undefined;
}

export function HexView({ file }: { readonly file: OpenFile }): JSX.Element {
  const { memory, processors, open } = file.known;
  useEffect(() => {
    if (open.value.state === "ready") {
      void load(file, "memory");
      void load(file, "processors");
    }
  }, [file, open.value.state]);
  const known: Known = {
    table: memory.value.state === "ready" ? memory.value.value : undefined,
    processors: processors.value.state === "ready" ? processors.value.value : [],
    size: open.value.state === "ready" ? open.value.value.size : undefined,
  };
  const asked = parseSpace(route.value.params.space);
  const noMemory = memory.value.state === "failed" && route.value.params.space === undefined;
  const space: Space = noMemory ? "file" : asked;
  return <Hex key={`${file.id} ${space}`} file={file} space={space} known={known} />;
}

interface HexProps {
  readonly file: OpenFile;
  readonly space: Space;
  readonly known: Known;
}

function Hex({ file, space, known }: HexProps): JSX.Element {
  const { table, processors, size: fileSize } = known;
  const blocks = useMemo(() => new Blocks(file.client, space), [file, space]);
  const box = useRef<HTMLDivElement>(null);
  const size = useSize(box);
  const columns = (size?.width ?? NARROW) < NARROW ? 8 : 16;
  const wide = BigInt(columns);
  const rows = Math.max(1, Math.ceil((size?.height ?? 400) / ROW_HEIGHT) + 1);
  const fromRoute = parseAddress(route.value.params.at ?? "");
  const firstThere = firstOf(space, known);
  const [top, setTop] = useState(fromRoute ?? firstThere);
  const [offset, setOffset] = useState(0);
  const [selection, setSelection] = useState<Selection | undefined>(() =>
    selectionOf(fromRoute, route.value.params.len),
  );
  const [typed, setTyped] = useState("");
  const [bad, setBad] = useState(false);
  const goField = useRef<HTMLInputElement>(null);
  void blocks.version.value;

  const aligned = top - (top % wide);
  const state = useRef({ aligned, offset, rows, columns, selection });
  state.current = { aligned, offset, rows, columns, selection };

  // where nothing was asked for, it begins where the processors are once they are known
  const moved = useRef(fromRoute !== undefined);
  useEffect(() => {
    if (!moved.current) setTop(firstThere);
  }, [firstThere]);

  const scrollTo = (address: bigint, pixels = 0): void => {
    moved.current = true;
    const limit = LAST - wide + 1n;
    const next = address < 0n ? 0n : address > limit ? limit : address;
    setTop(next - (next % wide));
    setOffset(address < 0n ? 0 : pixels);
  };
  const jump = (address: bigint, length = 1): void => {
    scrollTo(address - 4n * wide);
    setSelection({ anchor: address, focus: address + BigInt(length) - 1n });
    box.current?.focus();
  };

  // somebody else changed the address: a link, the back button
  const seen = useRef(route.value.params.at);
  useEffect(() => {
    const { at } = route.value.params;
    if (at === seen.current || at === undefined) return;
    seen.current = at;
    const address = parseAddress(at);
    if (address !== undefined) jump(address, Number(route.value.params.len ?? 1) || 1);
  }, [route.value]);
  // the address follows the selection once it stands still
  useEffect(() => {
    const timer = setTimeout(() => {
      if (route.peek().view !== "hex") return;
      const at = hex(selection === undefined ? aligned : selectionStart(selection));
      const length = selection === undefined ? 1n : spanOf(selection);
      if (at === seen.current) return;
      seen.current = at;
      note({ space, at, ...(length > 1n ? { len: String(length) } : {}) });
    }, 300);
    return () => clearTimeout(timer);
  }, [aligned, selection, space]);

  const last = aligned + wide * (BigInt(rows) + AHEAD);
  const first = aligned > wide * AHEAD ? aligned - wide * AHEAD : 0n;
  useEffect(() => blocks.want(first, last > LAST ? LAST : last), [blocks, first, last]);

  useEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    const onWheel = (event: WheelEvent): void => {
      event.preventDefault();
      const unit = event.deltaMode === 1 ? ROW_HEIGHT * 3 : 1;
      const now = state.current;
      const total = now.offset + event.deltaY * unit;
      const lines = Math.floor(total / ROW_HEIGHT);
      const next = now.aligned + BigInt(lines) * BigInt(now.columns);
      // more than one of these may come before the next drawing
      const at = next < 0n ? 0n : next;
      state.current = { ...now, aligned: at, offset: next < 0n ? 0 : total - lines * ROW_HEIGHT };
      scrollTo(at, state.current.offset);
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  });
  useEffect(() => bindKey("g", () => goField.current?.select()));

  const scale = useMemo<Scale>(() => {
    if (space === "physical" && table !== undefined) return memoryScale(table);
    return linearScale(space === "file" ? BigInt(fileSize ?? 0) : LAST);
  }, [space, table, fileSize]);

  const byteAt = (event: PointerEvent): bigint | undefined => {
    const row = (event.target as Element).closest?.(".hex-row");
    const list = box.current?.querySelectorAll(".hex-row");
    if (row === null || list === undefined) return undefined;
    const index = Array.from(list).indexOf(row);
    const area = (event.target as Element).closest(".hex-text, .hex-bytes") ?? undefined;
    if (area === undefined) return undefined;
    const { left, width } = area.getBoundingClientRect();
    const isText = area.classList.contains("hex-text");
    const characters = isText ? columns : columnAt(columns - 1) + 2;
    const at = ((event.clientX - left) / width) * characters;
    let column = 0;
    if (isText) column = Math.floor(at);
    else while (column < columns - 1 && columnAt(column + 1) - 0.5 <= at) column += 1;
    return aligned + BigInt(index) * wide + BigInt(Math.min(Math.max(column, 0), columns - 1));
  };
  const dragging = useRef(false);
  const onDown = (event: PointerEvent): void => {
    const address = byteAt(event);
    if (address === undefined || event.button !== 0) return;
    dragging.current = true;
    setSelection(
      event.shiftKey && selection !== undefined
        ? { anchor: selection.anchor, focus: address }
        : { anchor: address, focus: address },
    );
  };
  const onMove = (event: PointerEvent): void => {
    if (!dragging.current || selection === undefined) return;
    const address = byteAt(event);
    if (address !== undefined) setSelection({ anchor: selection.anchor, focus: address });
  };
  const onKey = (event: KeyboardEvent): void => {
    const page = BigInt(Math.max(1, rows - 2)) * wide;
    const moves: Readonly<Record<string, bigint>> = {
      ArrowLeft: -1n,
      ArrowRight: 1n,
      ArrowUp: -wide,
      ArrowDown: wide,
      PageUp: -page,
      PageDown: page,
    };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "Home" || event.key === "End") {
      event.preventDefault();
      const end = space === "file" ? BigInt(fileSize ?? 1) - 1n : BigInt(table?.ends.at(-1) ?? 1) - 1n;
      jump(event.key === "Home" ? firstThere : isVirtual ? LAST : end);
      return;
    }
    const move = moves[event.key];
    if (move === undefined) return;
    event.preventDefault();
    const focus = (selection?.focus ?? aligned) + (selection === undefined ? 0n : move);
    const next = focus < 0n ? 0n : focus > LAST ? LAST : focus;
    setSelection({
      anchor: event.shiftKey && selection !== undefined ? selection.anchor : next,
      focus: next,
    });
    const bottom = aligned + BigInt(rows - 2) * wide;
    if (next < aligned) scrollTo(event.key === "PageUp" ? aligned + move : next);
    else if (next >= bottom)
      scrollTo(event.key === "PageDown" ? aligned + move : next - BigInt(rows - 3) * wide);
  };

  const hits = space === "physical" ? file.hits.value : new Float64Array(0);
  const hitSet = useMemo(() => new Set(hits), [hits]);
  const digits =
    space === "physical" || space === "file"
      ? top > 0xffff_ffffn || (table?.ends.at(-1) ?? 0) > 2 ** 32
        ? 12
        : 8
      : 16;
  const isVirtual = space !== "file" && space !== "physical";
  const virtual = processors.find(({ translates }) => translates);
  const spaces: readonly (readonly [Space, string])[] = [
    ...(table === undefined ? [] : [["physical", texts.hex.physical] as const]),
    ...(table === undefined ? [] : processors.filter(({ translates }) => translates)).map(
      ({ id }) => [`vcpu:${id}` as const, texts.hex.vcpu(id)] as const,
    ),
    ...(hasKernel(file) ? [["kernel", texts.hex.kernel] as const] : []),
    ...(space.startsWith("pid:") ? [[space, texts.hex.process(space.slice("pid:".length))] as const] : []),
    ...(fileSize === undefined ? [] : [["file", texts.hex.file] as const]),
  ];
  const submit = async (): Promise<void> => {
    const address = parseAddress(typed);
    setBad(false);
    // a place in the history: back comes back
    const visit = (to: Space, at: bigint): void => go({ view: "hex", params: { space: to, at: hex(at) } });
    if (address !== undefined) {
      visit(space, address);
      jump(address);
      return;
    }
    const name = typed.trim();
    const found = await file.client.call("linuxAddress", { name }).catch(() => undefined);
    setBad(found === undefined);
    if (found === undefined) return;
    visit(isVirtual ? space : "kernel", found);
  };
  const addresses = Array.from({ length: rows }, (_, i) => aligned + BigInt(i) * wide).filter(
    (one) => one <= LAST,
  );
  const focus = selection === undefined ? aligned : selectionStart(selection);
  const symbols = useSymbols(file, space, [...addresses.map((one) => one + wide - 1n), focus]);
  return (
    <section class="view hex-view" aria-label={texts.views.hex}>
      <div class="toolbar">
        <h2>{texts.views.hex}</h2>
        <select
          aria-label={texts.hex.space}
          value={space}
          onChange={(event) =>
            note({
              space: event.currentTarget.value,
              ...(/^(vcpu|kernel)/.test(event.currentTarget.value)
                ? { at: startOf(processors, event.currentTarget.value) }
                : {}),
            })
          }
        >
          {spaces.some(([one]) => one === space) ? null : <option value={space}>{space}</option>}
          {spaces.map(([one, label]) => (
            <option key={one} value={one}>
              {label}
            </option>
          ))}
        </select>
        <form
          class="go"
          onSubmit={(event) => {
            event.preventDefault();
            void submit();
          }}
        >
          <label class="field">
            <input
              ref={goField}
              value={typed}
              aria-label={texts.hex.goLabel}
              title={texts.hex.go}
              placeholder="0x…"
              spellcheck={false}
              aria-invalid={bad}
              onInput={(event) => {
                setTyped(event.currentTarget.value);
                setBad(false);
              }}
              onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
            />
          </label>
          {bad && <span role="alert">{texts.hex.badAddress}</span>}
        </form>
        <BackAndForward />
        {table !== undefined && (
          <Search
            file={file}
            table={table}
            current={focus}
            onHit={(address, length) => {
              if (space === "physical") jump(address, length);
              else note({ space: "physical", at: hex(address), len: String(length) });
            }}
          />
        )}
      </div>
      <div class="hex-area">
        <div
          class="hex-box"
          ref={box}
          tabIndex={0}
          role="application"
          aria-roledescription={texts.hex.rows}
          aria-label={texts.hex.describe(hex(selection?.focus ?? aligned))}
          onPointerDown={onDown}
          onPointerMove={onMove}
          onPointerUp={() => {
            dragging.current = false;
          }}
          onKeyDown={onKey}
        >
          <div class="hex-rows" style={{ transform: `translateY(${-offset}px)` }}>
            {addresses.map((address) => (
              <Row
                key={String(address)}
                address={address}
                columns={columns}
                digits={digits}
                blocks={blocks}
                selection={selection}
                isNarrow={(size?.width ?? 0) < ROOMY}
                symbol={beginsInRow(symbols.get(address + wide - 1n), columns)}
                isHit={hitSet.size === 0 ? never : (at) => hitSet.has(Number(at))}
              />
            ))}
          </div>
        </div>
        <Slider
          scale={scale}
          table={space === "physical" ? table : undefined}
          top={aligned}
          hits={hits}
          onMove={(address) => scrollTo(address)}
        />
        <aside class="hex-inspector" aria-label={texts.hex.selection}>
          <h3>{texts.hex.selection}</h3>
          <Inspector
            file={file}
            blocks={blocks}
            space={space}
            selection={selection}
            symbol={symbols.get(focus) ?? ""}
            virtual={
              isVirtual
                ? space
                : hasKernel(file)
                  ? "kernel"
                  : virtual === undefined
                    ? undefined
                    : `vcpu:${virtual.id}`
            }
            hasMemory={table !== undefined}
          />
          {file.hits.value.length > 0 && (
            <>
              <h3>{texts.hex.hits}</h3>
              <Hits
                hits={file.hits.value}
                onOpen={(address) => go({ view: "hex", params: { space: "physical", at: hex(address) } })}
              />
            </>
          )}
        </aside>
      </div>
      {blocks.problem.value !== undefined && <p role="alert">{blocks.problem.value}</p>}
    </section>
  );
}

const never = (): boolean => false;

const spanOf = ({ anchor, focus }: Selection): bigint =>
  (anchor < focus ? focus - anchor : anchor - focus) + 1n;

function selectionOf(at: bigint | undefined, length: string | undefined): Selection | undefined {
  if (at === undefined) return undefined;
  const size = Math.max(1, Math.min(Number(length ?? 1) || 1, 1 << 20));
  return { anchor: at, focus: at + BigInt(size) - 1n };
}

/** Where a space is first looked at: where its memory begins, a processor's next instruction. */
function firstOf(space: Space, { table, processors }: Known): bigint {
  if (space === "physical") return BigInt(table?.starts[0] ?? 0);
  return space === "kernel" || space.startsWith("vcpu:")
    ? (parseAddress(startOf(processors, space)) ?? 0n)
    : 0n;
}

/** A processor's next instruction, for the kernel that of one that is in it. */
function startOf(processors: readonly Processor[], space: string): string {
  const isKernel = (address: bigint): boolean => address >= 1n << 63n;
  const found =
    space === "kernel"
      ? processors.find(({ pc = 0n }) => isKernel(pc))
      : processors.find(({ id }) => space === `vcpu:${id}`);
  return hex((found?.pc ?? (space === "kernel" ? 0xffff_ffff_8100_0000n : 0n)) & ~0xfn);
}
