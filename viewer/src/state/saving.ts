import { texts } from "../texts.js";

/** Where an output goes, in order. */
export interface Target {
  write(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
  abort(): Promise<void>;
}

interface Picker {
  showSaveFilePicker?(options: { readonly suggestedName: string }): Promise<FileSystemFileHandle>;
}

const MOST_IN_MEMORY = 2 ** 30;
const KEPT_MS = 60_000;

/** Hands a finished output to the browser's downloads. */
export function saveBlob(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
}

/** Asks where to save; streams into the file where the browser can, else gathers a download. */
export async function openTarget(name: string): Promise<Target> {
  const picked = (window as Picker).showSaveFilePicker?.({ suggestedName: name });
  if (picked !== undefined) {
    const handle = await picked;
    const stream = await handle.createWritable();
    return {
      write: (bytes) => stream.write(bytes as Uint8Array<ArrayBuffer>),
      close: () => stream.close(),
      abort: () => stream.abort(),
    };
  }
  const parts: Blob[] = [];
  let size = 0;
  return {
    write: async (bytes) => {
      size += bytes.length;
      if (size > MOST_IN_MEMORY) throw new Error(texts.export.tooLarge);
      parts.push(new Blob([bytes as Uint8Array<ArrayBuffer>]));
    },
    close: async () => saveBlob(new Blob(parts), name),
    abort: async () => undefined,
  };
}
