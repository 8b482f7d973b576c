import type { RefObject } from "preact";
import { useEffect } from "preact/hooks";

/** Scrolls a bar so that its current entry is seen, whenever that is another one. */
export function useShown(bar: RefObject<HTMLElement | null>, current: string): void {
  useEffect(() => {
    const entry = bar.current?.querySelector("[aria-current], [aria-pressed=true]");
    entry?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [bar, current]);
}
