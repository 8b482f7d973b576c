import { signal } from "@preact/signals";

const KEY = "recent";
const MOST = 6;

function stored(): readonly string[] {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(value) ? value.filter((one) => typeof one === "string").slice(0, MOST) : [];
  } catch {
    return [];
  }
}

/** Names of files that were opened before. Names alone: the browser forgets files. */
export const recent = signal(stored());

export function remember(name: string): void {
  recent.value = [name, ...recent.value.filter((one) => one !== name)].slice(0, MOST);
  try {
    localStorage.setItem(KEY, JSON.stringify(recent.value));
  } catch {
    // a page without storage forgets them
  }
}
