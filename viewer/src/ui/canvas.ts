import { type RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

export interface CanvasSize {
  /** CSS pixels. */
  readonly width: number;
  readonly height: number;
  /** Device pixels for one of CSS. */
  readonly ratio: number;
}

/** The size of an element as it changes. */
export function useSize(ref: RefObject<HTMLElement | null>): CanvasSize | undefined {
  const [size, setSize] = useState<CanvasSize>();
  useLayoutEffect(() => {
    const element = ref.current;
    if (element === null) return undefined;
    const measure = (): void => {
      const { width, height } = element.getBoundingClientRect();
      setSize({ width: Math.floor(width), height: Math.floor(height), ratio: window.devicePixelRatio || 1 });
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    return () => observer.disconnect();
  }, [ref]);
  return size;
}

/** Draws a canvas in the next frame after each render: many changes in one frame are one drawing. */
export function useDrawing(
  ref: RefObject<HTMLCanvasElement | null>,
  size: CanvasSize | undefined,
  draw: (context: CanvasRenderingContext2D, size: CanvasSize) => void,
): void {
  const latest = useRef(draw);
  latest.current = draw;
  const frame = useRef(0);
  useEffect(() => {
    if (size === undefined || frame.current !== 0) return;
    frame.current = requestAnimationFrame(() => {
      frame.current = 0;
      const canvas = ref.current;
      const context = canvas?.getContext("2d");
      if (canvas === null || context === null || context === undefined) return;
      const width = Math.max(1, Math.round(size.width * size.ratio));
      const height = Math.max(1, Math.round(size.height * size.ratio));
      if (canvas.width !== width || canvas.height !== height) {
        canvas.width = width;
        canvas.height = height;
      }
      context.setTransform(size.ratio, 0, 0, size.ratio, 0, 0);
      latest.current(context, size);
    });
  });
  useEffect(() => () => cancelAnimationFrame(frame.current), []);
}
