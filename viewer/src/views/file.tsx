import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { FieldRow, FilePart, FileParts } from "../../../src/open/session/protocol.js";
import { bytes, hex, visible } from "../format.js";
import { Blocks } from "../hex/blocks.js";
import { Row } from "../hex/rows.js";
import type { OpenFile } from "../state/files.js";
import { go, note, route } from "../state/route.js";
import { theme } from "../state/theme.js";
import { texts } from "../texts.js";
import { useDrawing, useSize } from "../ui/canvas.js";
import { Loaded } from "../ui/loaded.js";
import { VirtualList } from "../ui/virtual-list.js";

const t = texts.file;
const ROW = 32;

export function FileView({ file }: { readonly file: OpenFile }): JSX.Element {
  return (
    <Loaded file={file} what="parts">
      {(parts) =>
        parts.parts.length === 0 ? <p class="quiet">{t.noFile}</p> : <Page file={file} parts={parts} />
      }
    </Loaded>
  );
}

/** Colours of layers and names, by a hash of the name: the same part has the same colour in every file. */
function hueOf(name: string): number {
  let hash = 7;
  for (let i = 0; i < name.length; i += 1) hash = (hash * 31 + name.charCodeAt(i)) % 3600;
  // from teal over blue to violet, and amber: as far apart as the palette of the map
  return [205, 175, 265, 38, 330, 228][hash % 6] ?? 205;
}

function colourOf(part: FilePart): string {
  if (part.layer === "") return theme.value === "dark" ? "#2b3038" : "#e2e5e9";
  const light = theme.value === "dark" ? 58 : 46;
  return `hsl(${hueOf(part.name)} 48% ${light}%)`;
}

function Page({ file, parts }: { readonly file: OpenFile; readonly parts: FileParts }): JSX.Element {
  const [filter, setFilter] = useState("");
  const shown = useMemo(() => {
    const wanted = filter.trim().toLowerCase();
    const all = parts.parts.map((part, index) => ({ part, index }));
    return wanted === ""
      ? all
      : all.filter(({ part }) => `${part.layer} ${part.name}`.toLowerCase().includes(wanted));
  }, [parts, filter]);
  const asked = Number(route.value.params.part ?? Number.NaN);
  const selected = shown.findIndex(({ index }) => index === asked);
  const chosen = parts.parts[asked];
  const size = parts.parts.at(-1)?.end ?? 0;
  const showBytes = (part: FilePart): void =>
    go({ view: "hex", params: { space: "file", at: hex(part.start) } });
  return (
    <section class="view file-view" aria-label={texts.views.file}>
      <div class="toolbar">
        <h2>{texts.views.file}</h2>
        <span class="quiet">{t.parts(shown.length)}</span>
        <label class="field">
          <input
            value={filter}
            placeholder={t.filter}
            aria-label={t.filter}
            spellcheck={false}
            onInput={(event) => setFilter(event.currentTarget.value)}
          />
        </label>
      </div>
      <FilePicture
        parts={parts.parts}
        size={size}
        chosen={chosen}
        onChoose={(index) => note({ part: String(index) })}
      />
      <div class="split">
        <div class="split-list">
          <div class="list-head" aria-hidden="true">
            <span>{t.offset}</span>
            <span>{t.size}</span>
            <span>{t.layer}</span>
            <span>{t.part}</span>
          </div>
          <VirtualList
            count={shown.length}
            rowHeight={ROW}
            label={texts.views.file}
            selected={selected === -1 ? undefined : selected}
            onSelect={(row) => note({ part: String(shown[row]?.index ?? 0) })}
            onOpen={(row) => {
              const part = shown[row]?.part;
              if (part !== undefined) showBytes(part);
            }}
            row={(row) => {
              const part = shown[row]?.part;
              if (part === undefined) return null;
              return (
                <div class={part.layer === "" ? "part-row unlisted" : "part-row"}>
                  <code>{hex(part.start)}</code>
                  <span class="number">{bytes(part.end - part.start)}</span>
                  <span class="quiet">{visible(part.layer)}</span>
                  <span class="part-name">
                    <i class="swatch" style={{ background: colourOf(part) }} />
                    {part.layer === "" ? t.notListed : visible(part.name)}
                    {part.detail !== undefined && <span class="quiet"> {visible(part.detail)}</span>}
                  </span>
                </div>
              );
            }}
          />
          {parts.leftOut > 0 && <p class="quiet">{t.leftOut(parts.leftOut)}</p>}
        </div>
        {chosen !== undefined && (
          <PartDetail key={asked} file={file} part={chosen} onBytes={() => showBytes(chosen)} />
        )}
      </div>
    </section>
  );
}

interface PictureProps {
  readonly parts: readonly FilePart[];
  readonly size: number;
  readonly chosen: FilePart | undefined;
  readonly onChoose: (index: number) => void;
}

/** The whole file as a bar: every part in scale. */
function FilePicture({ parts, size, chosen, onChoose }: PictureProps): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const measured = useSize(box);
  const [over, setOver] = useState<FilePart>();
  useDrawing(canvas, measured, (context, { width, height }) => {
    context.clearRect(0, 0, width, height);
    let last = -1;
    for (const part of parts) {
      const left = (part.start / size) * width;
      const right = Math.max(left + 0.75, (part.end / size) * width);
      if (right - last < 0.5) continue;
      last = right;
      context.fillStyle = colourOf(part);
      context.fillRect(left, 0, right - left - (right - left > 3 ? 1 : 0), height);
    }
    if (chosen === undefined) return;
    const left = (chosen.start / size) * width;
    const wide = Math.max(3, ((chosen.end - chosen.start) / size) * width);
    context.strokeStyle = theme.value === "dark" ? "#fff" : "#10151c";
    context.lineWidth = 2;
    context.strokeRect(left, 1, wide, height - 2);
  });
  const indexAt = (event: MouseEvent): number => {
    const { left, width } = canvas.current?.getBoundingClientRect() ?? { left: 0, width: 1 };
    const offset = ((event.clientX - left) / width) * size;
    let found = 0;
    for (const [i, part] of parts.entries()) {
      if (part.start > offset) break;
      found = i;
    }
    return found;
  };
  return (
    <div class="file-picture">
      <div ref={box}>
        <canvas
          ref={canvas}
          role="img"
          aria-label={t.picture}
          onMouseMove={(event) => setOver(parts[indexAt(event)])}
          onMouseLeave={() => setOver(undefined)}
          onClick={(event) => onChoose(indexAt(event))}
        />
      </div>
      <p class="quiet">
        {over === undefined
          ? t.picture
          : `${visible(over.layer)} ${visible(over.name)} · ${hex(over.start)} · ${bytes(over.end - over.start)}`}
      </p>
    </div>
  );
}

function PartDetail({
  file,
  part,
  onBytes,
}: {
  readonly file: OpenFile;
  readonly part: FilePart;
  readonly onBytes: () => void;
}): JSX.Element {
  const [fields, setFields] = useState<readonly FieldRow[]>();
  const [over, setOver] = useState<FieldRow>();
  const blocks = useMemo(() => new Blocks(file.client, "file"), [file]);
  useEffect(() => {
    const { start, end, structures = [] } = part;
    file.client.call("fields", { start, end, structures }).then(setFields, () => setFields([]));
    blocks.want(BigInt(start), BigInt(start + 256));
  }, [part]);
  void blocks.version.value;
  const first = part.start - (part.start % 16);
  const rows = Math.min(12, Math.max(1, Math.ceil((part.end - first) / 16)));
  const marked =
    over === undefined
      ? undefined
      : { anchor: BigInt(over.offset), focus: BigInt(over.offset + over.size - 1) };
  return (
    <div class="split-detail">
      <div class="card-head">
        <h3>{visible(part.name)}</h3>
        <button type="button" class="button" onClick={onBytes}>
          {t.showBytes}
        </button>
      </div>
      <p class="quiet">
        {hex(part.start)} – {hex(Math.max(part.start, part.end - 1))} · {bytes(part.end - part.start)}
        {part.detail !== undefined && ` · ${visible(part.detail)}`}
      </p>
      <div class="hex-rows still">
        {Array.from({ length: rows }, (_, i) => (
          <Row
            key={i}
            address={BigInt(first + i * 16)}
            columns={16}
            digits={8}
            blocks={blocks}
            selection={marked}
            symbol=""
            isNarrow={false}
            isHit={() => false}
          />
        ))}
      </div>
      {fields !== undefined && fields.length === 0 && <p class="quiet">{t.noFields}</p>}
      {fields !== undefined && fields.length > 0 && (
        <table class="fields">
          <thead>
            <tr>
              <th>{t.name}</th>
              <th>{t.value}</th>
              <th>{t.type}</th>
            </tr>
          </thead>
          <tbody>
            {fields.map((field, i) => (
              <>
                {field.structure !== fields[i - 1]?.structure && (
                  <tr key={`s${i}`} class="structure">
                    <th colSpan={3}>
                      {field.structure} <span class="quiet">{field.spec}</span>
                    </th>
                  </tr>
                )}
                <tr
                  key={i}
                  tabIndex={0}
                  onMouseEnter={() => setOver(field)}
                  onMouseLeave={() => setOver(undefined)}
                  onFocus={() => setOver(field)}
                >
                  <td title={field.meaning}>{field.name}</td>
                  <td>
                    <code>{visible(field.value)}</code>
                    {field.meaning !== "" && <div class="quiet meaning">{field.meaning}</div>}
                  </td>
                  <td class="quiet">{field.type}</td>
                </tr>
              </>
            ))}
          </tbody>
        </table>
      )}
    </div>
  );
}
