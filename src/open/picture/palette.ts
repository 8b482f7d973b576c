import type { MemoryKind } from "../session/protocol.js";

export type Theme = "light" | "dark";

/**
 * Colours of memory. Present and zero are blues of different lightness; what is missing is orange and its neighbours:
 * the pair that people with any colour vision tell apart (Okabe and Ito, Color Universal Design).
 */
export type Rgb = readonly [red: number, green: number, blue: number];

interface Palette {
  readonly present: Rgb;
  readonly zero: Rgb;
  readonly unpopulated: Rgb;
  readonly hole: Rgb;
  readonly absent: readonly Rgb[];
  readonly hit: Rgb;
  readonly changed: Rgb;
}

const PALETTES: Readonly<Record<Theme, Palette>> = {
  light: {
    present: [43, 108, 176],
    zero: [176, 204, 232],
    unpopulated: [226, 229, 233],
    hole: [244, 245, 247],
    absent: [
      [221, 132, 31],
      [184, 72, 20],
      [233, 185, 73],
      [170, 68, 122],
      [130, 96, 60],
    ],
    hit: [204, 51, 120],
    changed: [196, 62, 28],
  },
  dark: {
    present: [88, 155, 224],
    zero: [48, 78, 112],
    unpopulated: [43, 48, 56],
    hole: [27, 30, 36],
    absent: [
      [240, 160, 70],
      [214, 104, 48],
      [240, 208, 110],
      [206, 121, 167],
      [176, 142, 104],
    ],
    hit: [255, 120, 180],
    changed: [255, 124, 84],
  },
};

export const css = ([red, green, blue]: Rgb): string => `rgb(${red} ${green} ${blue})`;

export const paletteOf = (theme: Theme): Palette => PALETTES[theme];

/** A colour for each kind of a table, and last the one of what does not exist. */
export function kindColours(legend: readonly MemoryKind[], theme: Theme): readonly Rgb[] {
  const palette = PALETTES[theme];
  let absent = 0;
  const colours = legend.map((kind): Rgb => {
    if (kind.unpopulated === true) return palette.unpopulated;
    if (kind.presence !== "absent") return palette[kind.presence];
    const colour = palette.absent[absent % palette.absent.length];
    absent += 1;
    return colour ?? palette.hole;
  });
  return [...colours, palette.hole];
}

/** Order in which kinds are stacked from the bottom: there, zero, missing, given back. */
export function stackOrder(legend: readonly MemoryKind[]): readonly number[] {
  const rank = ({ presence, unpopulated }: MemoryKind): number =>
    unpopulated === true ? 3 : presence === "present" ? 0 : presence === "zero" ? 1 : 2;
  return legend
    .map((kind, index) => ({ index, rank: rank(kind) }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ index }) => index);
}
