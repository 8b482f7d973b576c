import { signal } from "@preact/signals";

export const VIEWS = [
  "overview",
  "map",
  "hex",
  "processors",
  "linux",
  "file",
  "findings",
  "compare",
  "export",
] as const;
export type ViewName = (typeof VIEWS)[number];

/** What the address after `#` says: `#2/hex?space=physical&at=0x1000`. */
export interface Route {
  /** Number of a file from 1 in the order of the tabs; 0: the start page. */
  readonly file: number;
  readonly view: ViewName;
  readonly params: Readonly<Record<string, string>>;
}

function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#/, "").split("?");
  const [file = "", name = ""] = path.split("/");
  const number = /^\d{1,4}$/.test(file) ? Number(file) : 0;
  const view = VIEWS.find((one) => one === name) ?? "overview";
  return { file: number, view, params: Object.fromEntries(new URLSearchParams(query)) };
}

export function printRoute({ file, view, params }: Route): string {
  if (file === 0) return "#";
  const query = new URLSearchParams(params).toString();
  return `#${file}/${view}${query === "" ? "" : `?${query}`}`;
}

export const route = signal<Route>(parseRoute(location.hash));

window.addEventListener("hashchange", () => {
  route.value = parseRoute(location.hash);
});

/** Goes to another place; the browser's back button comes back. */
export function go(change: Partial<Route>): void {
  const next = { ...route.peek(), ...(change.view === undefined ? {} : { params: {} }), ...change };
  location.hash = printRoute(next);
}

/** Keeps the address up to date while something is scrolled or zoomed: no new entry in the history. */
export function note(params: Readonly<Record<string, string>>): void {
  const next = { ...route.peek(), params };
  history.replaceState(null, "", printRoute(next));
  route.value = next;
}
