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
  /** Kinds of pages that are there. */
  readonly tones: readonly Rgb[];
  /** Ends of a scale. */
  readonly cold: Rgb;
  readonly hot: Rgb;
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
    tones: [
      [43, 108, 176],
      [0, 158, 115],
      [230, 159, 0],
      [204, 121, 167],
      [213, 94, 0],
      [110, 84, 160],
      [86, 180, 233],
      [150, 140, 40],
    ],
    cold: [198, 216, 236],
    hot: [178, 34, 24],
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
    tones: [
      [88, 155, 224],
      [70, 200, 160],
      [240, 180, 60],
      [224, 150, 195],
      [240, 130, 60],
      [170, 145, 225],
      [130, 205, 245],
      [215, 205, 110],
    ],
    cold: [44, 66, 94],
    hot: [255, 138, 96],
  },
};

export const css = ([red, green, blue]: Rgb): string => `rgb(${red} ${green} ${blue})`;

export const paletteOf = (theme: Theme): Palette => PALETTES[theme];

const mixed = (a: Rgb, b: Rgb, share: number): Rgb => [
  Math.round(a[0] + (b[0] - a[0]) * share),
  Math.round(a[1] + (b[1] - a[1]) * share),
  Math.round(a[2] + (b[2] - a[2]) * share),
];

/** A colour for each kind of a table, and last the one of what does not exist. */
export function kindColours(legend: readonly MemoryKind[], theme: Theme): readonly Rgb[] {
  const palette = PALETTES[theme];
  let absent = 0;
  const colours = legend.map((kind): Rgb => {
    if (kind.heat !== undefined) return mixed(palette.cold, palette.hot, kind.heat);
    if (kind.tone !== undefined) return palette.tones[kind.tone % palette.tones.length] ?? palette.present;
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
