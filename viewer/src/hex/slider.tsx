import type { JSX } from "preact";
import { useMemo, useRef } from "preact/hooks";
import type { MemoryTable } from "../../../src/open/session/protocol.js";
import { hex } from "../format.js";
import { addressAt, type Axis, makeAxis, unitOf } from "../../../src/open/picture/axis.js";
import { bucketize } from "../../../src/open/picture/buckets.js";
import { css, kindColours, paletteOf } from "../../../src/open/picture/palette.js";
import { theme } from "../state/theme.js";
import { texts } from "../texts.js";
import { useDrawing, useSize } from "../ui/canvas.js";

/** How far something is through a space, and back. */
export interface Scale {
  shareOf(address: bigint): number;
  addressAt(share: number): bigint;
  readonly axis?: Axis;
}

/** The scale of guest-physical memory is the map's: over what exists. */
export function memoryScale(table: MemoryTable): Scale {
  const axis = makeAxis(table);
  return {
    axis,
    shareOf: (address) => unitOf(axis, Number(address)) / axis.width,
    addressAt: (share) => BigInt(addressAt(axis, share * axis.width)),
  };
}

export function linearScale(size: bigint): Scale {
  const parts = 1_000_000_000;
  return {
    shareOf: (address) => Number((address * BigInt(parts)) / (size === 0n ? 1n : size)) / parts,
    addressAt: (share) => (size * BigInt(Math.round(share * parts))) / BigInt(parts),
  };
}

interface SliderProps {
  readonly scale: Scale;
  readonly table: MemoryTable | undefined;
  readonly top: bigint;
  readonly hits: Float64Array;
  readonly onMove: (address: bigint) => void;
}

/** The scroll bar of the bytes: a map of what exists with a mark where we are. */
export function Slider({ scale, table, top, hits, onMove }: SliderProps): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSize(box);
  const held = useRef(false);
  const { axis } = scale;
  const share = Math.min(1, Math.max(0, scale.shareOf(top)));
  const height = size?.height ?? 0;

  const colours = useMemo(() => {
    if (table === undefined || axis === undefined || height === 0) return undefined;
    const palette = kindColours(table.legend, theme.value);
    const { shares, kinds } = bucketize(table, axis, 0, axis.width, height);
    return Array.from({ length: height }, (_, row) => {
      let best = kinds - 1;
      for (let kind = 0; kind < kinds; kind += 1)
        if ((shares[row * kinds + kind] ?? 0) > (shares[row * kinds + best] ?? 0)) best = kind;
      return css(palette[best] ?? [0, 0, 0]);
    });
  }, [table, axis, height, theme.value]);

  useDrawing(canvas, size, (context, { width, height: tall }) => {
    const palette = paletteOf(theme.value);
    context.fillStyle = css(palette.hole);
    context.fillRect(0, 0, width, tall);
    for (const [row, colour] of (colours ?? []).entries()) {
      context.fillStyle = colour;
      context.fillRect(0, row, width, 1);
    }
    context.fillStyle = css(palette.hit);
    if (axis !== undefined)
      for (const hit of hits)
        context.fillRect(0, Math.round((unitOf(axis, hit) / axis.width) * tall), width, 2);
    const at = Math.round(share * (tall - 6));
    context.fillStyle = theme.value === "dark" ? "#fff" : "#10151c";
    context.fillRect(0, at, width, 6);
    context.fillStyle = theme.value === "dark" ? "#10151c" : "#fff";
    context.fillRect(2, at + 2, width - 4, 2);
  });

  const move = (event: PointerEvent): void => {
    const { top: above, height: tall } = canvas.current?.getBoundingClientRect() ?? { top: 0, height: 1 };
    onMove(scale.addressAt(Math.min(1, Math.max(0, (event.clientY - above) / tall))));
  };
  return (
    <div class="hex-slider" ref={box}>
      <canvas
        ref={canvas}
        role="slider"
        tabIndex={-1}
        aria-orientation="vertical"
        aria-label={texts.hex.slider}
        aria-valuemin={0}
        aria-valuemax={1000}
        aria-valuenow={Math.round(share * 1000)}
        aria-valuetext={hex(top)}
        onPointerDown={(event) => {
          held.current = true;
          canvas.current?.setPointerCapture(event.pointerId);
          move(event);
        }}
        onPointerMove={(event) => held.current && move(event)}
        onPointerUp={() => {
          held.current = false;
        }}
      />
    </div>
  );
}
