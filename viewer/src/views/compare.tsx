import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { MemoryTable, Processor } from "../../../src/open/session/protocol.js";
import { bytes, hex, padded, percent, visible } from "../format.js";
import { makeAxis } from "../../../src/open/picture/axis.js";
import { paintContents, paintMarks, paintRuler } from "../map/paint.js";
import { paletteOf } from "../../../src/open/picture/palette.js";
import { asProblem } from "../session/client.js";
import { files, load, type OpenFile } from "../state/files.js";
import { go, note, route } from "../state/route.js";
import { theme } from "../state/theme.js";
import { texts } from "../texts.js";
import { useDrawing, useSize } from "../ui/canvas.js";
import { LinuxDifference } from "./compare-linux.js";
import { compareMemory, type MemoryDifference } from "../compare/memory.js";

const t = texts.compare;
const PAGE = 4096;
const MOST_LISTED = 400;
const NONE: ReadonlySet<number> = new Set();

export function CompareView({ file }: { readonly file: OpenFile }): JSX.Element {
  const others = files.value.filter((one) => one !== file);
  const asked = Number(route.value.params.with ?? Number.NaN);
  const other = others.find((one) => files.value.indexOf(one) + 1 === asked) ?? others[0];
  return (
    <section class="view compare" aria-label={texts.views.compare}>
      <div class="toolbar">
        <h2>{texts.views.compare}</h2>
        {other !== undefined && (
          <label>
            {t.with}{" "}
            <select
              value={String(files.value.indexOf(other) + 1)}
              onChange={(event) => note({ with: event.currentTarget.value })}
            >
              {others.map((one) => (
                <option key={one.id} value={String(files.value.indexOf(one) + 1)}>
                  {visible(one.name)}
                </option>
              ))}
            </select>
          </label>
        )}
      </div>
      {other === undefined ? (
        <p class="empty">{t.needTwo}</p>
      ) : (
        <Pair key={`${file.id} ${other.id}`} a={file} b={other} />
      )}
    </section>
  );
}

interface Both {
  readonly a: OpenFile;
  readonly b: OpenFile;
}

function Pair({ a, b }: Both): JSX.Element {
  useEffect(() => {
    for (const file of [a, b]) {
      void load(file, "memory");
      void load(file, "processors");
    }
  }, [a, b]);
  const [left, right] = [a.known.memory.value, b.known.memory.value];
  const [one, two] = [a.known.processors.value, b.known.processors.value];
  return (
    <>
      {left.state === "ready" && right.state === "ready" && (
        <Memories a={a} b={b} tableA={left.value} tableB={right.value} />
      )}
      {one.state === "ready" && two.state === "ready" && <Registers a={one.value} b={two.value} />}
      <LinuxDifference a={a} b={b} />
    </>
  );
}

function Memories({
  a,
  b,
  tableA,
  tableB,
}: Both & { readonly tableA: MemoryTable; readonly tableB: MemoryTable }): JSX.Element {
  const [found, setFound] = useState<MemoryDifference>();
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const abort = new AbortController();
    compareMemory(a.client, tableA, b.client, tableB, setFound, abort.signal).catch((error: unknown) =>
      setProblem(asProblem(error).message),
    );
    return () => abort.abort();
  }, [a, b]);
  if (problem !== "") return <p role="alert">{visible(problem)}</p>;
  if (found === undefined) return <p class="quiet">{texts.shell.loading}</p>;
  const { done, total, same, changed, oneOnly } = found;
  return (
    <section class="card">
      <div class="card-head">
        <h3>{t.picture}</h3>
        <span class="quiet" role="status">
          {done < total && t.running(percent(done, total))}
        </span>
      </div>
      <p class="compare-numbers">
        <span>
          <strong>{bytes(changed.length * PAGE)}</strong> {t.changed}
        </span>
        <span>
          <strong>{bytes(same * PAGE)}</strong> {t.same}
        </span>
        <span>
          <strong>{bytes(oneOnly * PAGE)}</strong> {t.onlyOne}
        </span>
      </p>
      <ChangedStrip table={tableA} changed={found.changed} />
      <ul class="changed-list">
        {runs(changed)
          .slice(0, MOST_LISTED)
          .map(({ start, pages }) => (
            <li key={start}>
              <button
                type="button"
                class="link"
                onClick={() => go({ view: "hex", params: { space: "physical", at: hex(start) } })}
              >
                <code>{hex(start)}</code>
              </button>{" "}
              <span class="quiet">{bytes(pages * PAGE)}</span>
            </li>
          ))}
      </ul>
      <p class="quiet">{t.method}</p>
    </section>
  );
}

/** Addresses of pages as runs of neighbours. */
function runs(pages: readonly number[]): readonly { readonly start: number; readonly pages: number }[] {
  const found: { start: number; pages: number }[] = [];
  for (const page of pages) {
    const last = found.at(-1);
    if (last !== undefined && last.start + last.pages * PAGE === page) last.pages += 1;
    else found.push({ start: page, pages: 1 });
  }
  return found;
}

function ChangedStrip({
  table,
  changed,
}: {
  readonly table: MemoryTable;
  readonly changed: readonly number[];
}): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSize(box);
  const axis = useMemo(() => makeAxis(table), [table]);
  const addresses = useMemo(() => Float64Array.from(changed), [changed]);
  useDrawing(canvas, size, (context, { width, height }) => {
    const all = { from: 0, to: axis.width };
    const look = { table, axis, theme: theme.value, hidden: NONE };
    context.clearRect(0, 0, width, height);
    paintContents(context, look, all, { x: 0, y: 0, width, height: height - 54 });
    const { changed: colour, hole } = paletteOf(theme.value);
    context.fillStyle = `rgb(${hole.join(" ")})`;
    context.fillRect(0, height - 50, width, 28);
    paintMarks(context, axis, all, { x: 0, y: height - 50, width, height: 28 }, addresses, colour);
    paintRuler(context, axis, all, { x: 0, y: height - 20, width, height: 20 }, theme.value, "below");
  });
  return (
    <div class="changed-strip" ref={box}>
      <canvas ref={canvas} role="img" aria-label={t.picture} />
    </div>
  );
}

interface RegisterDifference {
  readonly vcpu: number;
  readonly name: string;
  readonly a: bigint;
  readonly b: bigint;
}

function differences(a: readonly Processor[], b: readonly Processor[]): readonly RegisterDifference[] {
  return a.flatMap(({ id, groups }) => {
    const other = b.find((one) => one.id === id);
    const values = new Map(
      other?.groups.flatMap((group) =>
        group.registers.map(({ name, value }) => [`${group.name} ${name}`, value] as const),
      ),
    );
    return groups.flatMap((group) =>
      group.registers.flatMap(({ name, value }) => {
        const second = values.get(`${group.name} ${name}`);
        return second === undefined || second === value ? [] : [{ vcpu: id, name, a: value, b: second }];
      }),
    );
  });
}

function Registers({
  a,
  b,
}: {
  readonly a: readonly Processor[];
  readonly b: readonly Processor[];
}): JSX.Element {
  const found = useMemo(() => differences(a, b), [a, b]);
  return (
    <section class="card">
      <h3>{t.registers}</h3>
      {found.length === 0 ? (
        <p class="quiet">{t.noDifference}</p>
      ) : (
        <div class="scroll-x">
          <table>
            <thead>
              <tr>
                <th>{t.vcpu}</th>
                <th>{t.register}</th>
                <th>1</th>
                <th>2</th>
              </tr>
            </thead>
            <tbody>
              {found.map(({ vcpu, name, a: one, b: two }) => (
                <tr key={`${vcpu} ${name}`}>
                  <td>{vcpu}</td>
                  <td>{visible(name)}</td>
                  <td>
                    <code>{padded(one, 16)}</code>
                  </td>
                  <td>
                    <code>{padded(two, 16)}</code>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
