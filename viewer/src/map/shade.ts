import type { Theme } from "../../../src/open/picture/palette.js";
import type { Rgb } from "../../../src/open/picture/palette.js";
import type { Sample } from "./samples.js";

/** Ends of the scales: pages of zeros, of text, and of what can't be told from random bytes. */
const SCALES: Readonly<Record<Theme, { readonly empty: Rgb; readonly text: Rgb; readonly full: Rgb }>> = {
  light: { empty: [214, 226, 240], text: [20, 132, 106], full: [74, 44, 130] },
  dark: { empty: [40, 58, 82], text: [92, 214, 176], full: [186, 150, 255] },
};

const mix = (a: Rgb, b: Rgb, share: number): Rgb => [
  Math.round(a[0] + (b[0] - a[0]) * share),
  Math.round(a[1] + (b[1] - a[1]) * share),
  Math.round(a[2] + (b[2] - a[2]) * share),
];

/** A page's colour by its contents: pale where it is empty, violet the fuller, green the more text. */
export function shade({ entropy, text }: Sample, theme: Theme): Rgb {
  const { empty, text: green, full } = SCALES[theme];
  const isText = Math.max(0, (text / 255 - 0.3) / 0.7);
  return mix(empty, mix(full, green, isText), Math.min(1, (entropy / 255) ** 0.7 * 1.08));
}

/** Colours of a legend: empty, code and data, random, text. */
export function shadeSteps(theme: Theme): readonly Rgb[] {
  return [
    shade({ entropy: 0, text: 0 }, theme),
    shade({ entropy: 90, text: 20 }, theme),
    shade({ entropy: 250, text: 90 }, theme),
    shade({ entropy: 150, text: 250 }, theme),
  ];
}
