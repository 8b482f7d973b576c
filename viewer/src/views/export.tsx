import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { bytes, percent, visible } from "../format.js";
import { makeAxis } from "../../../src/open/picture/axis.js";
import { paintContents, paintRuler } from "../map/paint.js";
import { memorySvg } from "../../../src/open/report/picture.js";
import type { MemoryTable } from "../../../src/open/session/protocol.js";
import { asProblem } from "../session/client.js";
import { openTarget, saveBlob } from "../state/saving.js";
import { load, type OpenFile } from "../state/files.js";
import { theme } from "../state/theme.js";
import { texts } from "../texts.js";
import { Icon } from "../ui/icons.js";

const t = texts.export;
const WIDTH = 1600;
const HEIGHT = 220;

export function ExportView({ file }: { readonly file: OpenFile }): JSX.Element {
  const stem = file.name.slice(file.name.lastIndexOf("/") + 1).replace(/\.[^.]*$/, "") || "guest";
  return (
    <section class="view export" aria-label={texts.views.export}>
      <h2>{texts.views.export}</h2>
      <div class="export-list">
        <Item
          title={t.vmcore}
          text={t.vmcoreText}
          run={(say) => extract(file, "elf", `${stem}.vmcore`, say)}
        />
        <Item title={t.raw} text={t.rawText} run={(say) => extract(file, "raw", `${stem}.raw`, say)} />
        <Item title={t.json} text={t.jsonText} run={() => saveDocument(file, `${stem}.json`)} />
        <Item title={t.picture} text={t.pictureText} run={() => savePicture(file, `${stem}.png`)} />
        <Item title={t.drawing} text={t.drawingText} run={() => saveDrawing(file, `${stem}.svg`)} />
      </div>
    </section>
  );
}

interface ItemProps {
  readonly title: string;
  readonly text: string;
  /** Saves; answers what was done. */
  readonly run: (say: (message: string) => void) => Promise<string>;
}

function Item({ title, text, run }: ItemProps): JSX.Element {
  const [message, setMessage] = useState("");
  const [bad, setBad] = useState(false);
  const [busy, setBusy] = useState(false);
  const start = async (): Promise<void> => {
    setBusy(true);
    setBad(false);
    try {
      setMessage(await run(setMessage));
    } catch (error) {
      // the user closed the dialog
      const isAbort = error instanceof DOMException && error.name === "AbortError";
      setBad(!isAbort);
      setMessage(isAbort ? "" : asProblem(error).message);
    } finally {
      setBusy(false);
    }
  };
  return (
    <section class="card export-item">
      <div>
        <h3>{title}</h3>
        <p class="quiet">{text}</p>
        <p role="status" class={bad ? "bad-text" : ""}>
          {visible(message)}
        </p>
      </div>
      <button
        type="button"
        class="button"
        disabled={busy}
        aria-label={`${t.save} ${title}`}
        onClick={() => void start()}
      >
        <Icon name="export" size={16} /> {t.save}
      </button>
    </section>
  );
}

async function extract(
  file: OpenFile,
  to: "elf" | "raw",
  name: string,
  say: (message: string) => void,
): Promise<string> {
  const target = await openTarget(name);
  try {
    const { absent, size } = await file.client.call(
      "extract",
      { to },
      {
        onProgress: (done, total) => say(total === undefined ? bytes(done) : percent(done, total)),
        onPiece: (piece) => target.write(piece),
      },
    );
    await target.close();
    return `${t.done(bytes(size))}${absent > 0 ? ` ${t.missing(bytes(absent))}` : ""}`;
  } catch (error) {
    await target.abort();
    throw error;
  }
}

async function saveDocument(file: OpenFile, name: string): Promise<string> {
  const text = await file.client.call("document", undefined);
  const blob = new Blob([text, "\n"], { type: "application/json" });
  saveBlob(blob, name);
  return t.done(bytes(blob.size));
}

async function tableOf(file: OpenFile): Promise<MemoryTable> {
  await load(file, "memory");
  const known = file.known.memory.peek();
  if (known.state === "ready") return known.value;
  throw new Error(known.state === "failed" ? known.problem.message : "");
}

async function saveDrawing(file: OpenFile, name: string): Promise<string> {
  const blob = new Blob([memorySvg(await tableOf(file))], { type: "image/svg+xml" });
  saveBlob(blob, name);
  return t.done(bytes(blob.size));
}

async function savePicture(file: OpenFile, name: string): Promise<string> {
  const table = await tableOf(file);
  const canvas = document.createElement("canvas");
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = canvas.getContext("2d");
  if (context === null) return "";
  const axis = makeAxis(table);
  const all = { from: 0, to: axis.width };
  context.fillStyle = theme.value === "dark" ? "#12151a" : "#ffffff";
  context.fillRect(0, 0, WIDTH, HEIGHT);
  const look = { table, axis, theme: theme.value, hidden: new Set<number>() };
  paintContents(context, look, all, { x: 20, y: 20, width: WIDTH - 40, height: HEIGHT - 64 });
  paintRuler(
    context,
    axis,
    all,
    { x: 20, y: HEIGHT - 40, width: WIDTH - 40, height: 24 },
    theme.value,
    "below",
  );
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  if (blob === null) return "";
  saveBlob(blob, name);
  return t.done(bytes(blob.size));
}
