import type { JSX } from "preact";

/** Outlines on a grid of 20, drawn for this viewer. */
const PATHS = {
  overview: "M3.5 4.5h13v5h-13zM3.5 12.5h6v3h-6zM12 12.5h4.5v3H12z",
  map: "M3.5 3.5h5v5h-5zM11.5 3.5h5v5h-5zM3.5 11.5h5v5h-5zM11.5 11.5h5v5h-5z",
  hex: "M3 5h4M9 5h3M14 5h3M3 10h3M8 10h4M14 10h3M3 15h4M9 15h2M13 15h4",
  processors: "M6 6h8v8H6zM8 3v3M12 3v3M8 14v3M12 14v3M3 8h3M3 12h3M14 8h3M14 12h3",
  linux: "M3.5 4.5h13v11h-13zM6 8l2.5 2L6 12M10 12.5h4",
  file: "M5.5 2.5h6l3.5 3.5v11.5h-9.5zM11.5 2.5V6H15M7.5 10h5M7.5 13h5",
  findings: "M10 3.5l7 12.5H3zM10 8v4M10 14v.2",
  compare: "M4 4.5h5v11H4zM11 4.5h5v11h-5zM6 8h1M13 8h1M13 11h1",
  export: "M10 3v9M6.5 8.5L10 12l3.5-3.5M4 14.5v2h12v-2",
  open: "M3 15.5v-10h5l1.5 2H17v8z",
  sun: "M10 6.5a3.5 3.5 0 110 7 3.5 3.5 0 010-7zM10 2v2M10 16v2M2 10h2M16 10h2M4.3 4.3l1.4 1.4M14.3 14.3l1.4 1.4M4.3 15.7l1.4-1.4M14.3 5.7l1.4-1.4",
  moon: "M15.5 12.2A6.2 6.2 0 017.8 4.5a6.2 6.2 0 107.7 7.7z",
  help: "M7.5 7.5a2.5 2.5 0 114 2c-1 .7-1.5 1.2-1.5 2.2M10 14.5v.2M10 2.5a7.5 7.5 0 110 15 7.5 7.5 0 010-15z",
  close: "M5.5 5.5l9 9M14.5 5.5l-9 9",
  check: "M4 10.5l4 4 8-9",
  error: "M10 2.5a7.5 7.5 0 110 15 7.5 7.5 0 010-15zM7 7l6 6M13 7l-6 6",
  warning: "M10 3.5l7 12.5H3zM10 8v4M10 14v.2",
  note: "M10 2.5a7.5 7.5 0 110 15 7.5 7.5 0 010-15zM10 9v5M10 6.5v.2",
  right: "M8 5l5 5-5 5",
  down: "M5 8l5 5 5-5",
  lock: "M5.5 9h9v7.5h-9zM7.5 9V6.5a2.5 2.5 0 015 0V9",
  plus: "M10 4v12M4 10h12",
  minus: "M4 10h12",
  fit: "M3.5 7.5v-4h4M12.5 3.5h4v4M16.5 12.5v4h-4M7.5 16.5h-4v-4",
  back: "M12 5l-5 5 5 5",
  search: "M9 3.5a5.5 5.5 0 110 11 5.5 5.5 0 010-11zM13 13l4 4",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 18 }: { readonly name: IconName; readonly size?: number }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 20 20" width={size} height={size} aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

/** The product's mark: pages of memory. */
export function Mark(): JSX.Element {
  const cells = [1, 0.55, 1, 0.55, 1, 0.3, 1, 0.3, 0.55];
  return (
    <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="8" class="mark-ground" />
      {cells.map((opacity, i) => (
        <rect
          key={i}
          x={7 + (i % 3) * 6.5}
          y={7 + Math.floor(i / 3) * 6.5}
          width="5"
          height="5"
          rx="1.2"
          fill="#fff"
          opacity={opacity}
        />
      ))}
    </svg>
  );
}
