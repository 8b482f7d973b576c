import { texts } from "../texts.js";
import { files, openServer, openWorker } from "./files.js";
import { remember } from "./recent.js";
import { go, route } from "./route.js";

/** Shows the file that was opened last. */
function showLast(): void {
  go({ file: files.value.length, view: "overview", params: {} });
}

export function openBlobs(blobs: readonly File[]): void {
  for (const blob of blobs) {
    openWorker({ kind: "blob", blob, name: blob.name });
    remember(blob.name);
  }
  if (blobs.length > 0) showLast();
}

export function openUrl(url: string): void {
  const path = new URL(url).pathname;
  const name = path.slice(path.lastIndexOf("/") + 1) || url;
  openWorker({ kind: "url", url, name });
  remember(name);
  showLast();
}

/** The sample that comes with the viewer. */
export async function openSample(): Promise<void> {
  const response = await fetch("./sample.gz");
  const blob = await response.blob();
  openWorker({ kind: "blob", blob, name: texts.start.sampleName });
  showLast();
}

/** An input that the server of this page names. */
interface ServedInput {
  readonly name: string;
  /** Address of its bytes, or of its calls where the server reads it itself; relative to the page. */
  readonly bytes?: string;
  readonly calls?: string;
}

/** Opens what `guestscope view` was given: the server writes that into the page. */
export function openServed(): void {
  const content = document.querySelector<HTMLMetaElement>('meta[name="guestscope-inputs"]')?.content;
  if (content === undefined) return;
  const inputs = JSON.parse(content) as readonly ServedInput[];
  for (const { name, bytes, calls } of inputs) {
    if (calls !== undefined) openServer(new URL(calls, location.href).href, name);
    else if (bytes !== undefined) openWorker({ kind: "url", url: new URL(bytes, location.href).href, name });
  }
  if (inputs.length > 0 && route.value.file === 0) go({ file: 1, view: "overview", params: {} });
}
