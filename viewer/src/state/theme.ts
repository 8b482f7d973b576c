import { effect, signal } from "@preact/signals";
import type { Theme } from "../../../src/open/picture/palette.js";

const media = window.matchMedia("(prefers-color-scheme: dark)");
const system = (): Theme => (media.matches ? "dark" : "light");

function stored(): Theme | undefined {
  try {
    const value = localStorage.getItem("theme");
    return value === "light" || value === "dark" ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Chosen by hand; undefined: as the system has it. */
const chosen = signal<Theme | undefined>(stored());
export const theme = signal<Theme>(chosen.value ?? system());

media.addEventListener("change", () => {
  if (chosen.value === undefined) theme.value = system();
});

effect(() => {
  document.documentElement.dataset.theme = theme.value;
});

export function toggleTheme(): void {
  const next = theme.value === "dark" ? "light" : "dark";
  chosen.value = next;
  theme.value = next;
  try {
    localStorage.setItem("theme", next);
  } catch {
    // a page without storage forgets it
  }
}
