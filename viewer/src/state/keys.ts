import { signal } from "@preact/signals";

/** Keys that views take for themselves while they are shown, by `KeyboardEvent.key`. */
const bindings = new Map<string, () => void>();

/** The list of keys is shown. */
export const helpOpen = signal(false);

/** Takes a key while a view is shown; the answer gives it back. */
export function bindKey(key: string, action: () => void): () => void {
  bindings.set(key, action);
  return () => {
    if (bindings.get(key) === action) bindings.delete(key);
  };
}

const isTyping = (target: EventTarget | null): boolean =>
  target instanceof HTMLInputElement ||
  target instanceof HTMLSelectElement ||
  target instanceof HTMLTextAreaElement;

window.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  const action = bindings.get(event.key);
  if (action === undefined) return;
  event.preventDefault();
  action();
});
