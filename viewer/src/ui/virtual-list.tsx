import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { useSize } from "./canvas.js";

interface VirtualListProps {
  readonly count: number;
  /** CSS pixels; every row is as tall. */
  readonly rowHeight: number;
  readonly label: string;
  readonly selected?: number | undefined;
  readonly onSelect?: (index: number) => void;
  readonly onOpen?: (index: number) => void;
  readonly row: (index: number) => ComponentChildren;
}

const AROUND = 8;

/** A long list of which only the rows that show exist; arrow keys move the selection. */
export function VirtualList(props: VirtualListProps): JSX.Element {
  const { count, rowHeight, label, selected, onSelect, onOpen, row } = props;
  const box = useRef<HTMLDivElement>(null);
  const size = useSize(box);
  const [top, setTop] = useState(0);
  const height = size?.height ?? 600;
  const first = Math.max(0, Math.floor(top / rowHeight) - AROUND);
  const end = Math.min(count, Math.ceil((top + height) / rowHeight) + AROUND);

  useEffect(() => {
    const element = box.current;
    if (element === null || selected === undefined) return;
    const at = selected * rowHeight;
    if (at < element.scrollTop) element.scrollTop = at;
    else if (at + rowHeight > element.scrollTop + element.clientHeight)
      element.scrollTop = at + rowHeight - element.clientHeight;
  }, [selected, rowHeight]);

  const onKey = (event: KeyboardEvent): void => {
    const page = Math.max(1, Math.floor(height / rowHeight) - 1);
    const now = selected ?? -1;
    const moves: Readonly<Record<string, number>> = {
      ArrowDown: now + 1,
      ArrowUp: now - 1,
      PageDown: now + page,
      PageUp: now - page,
      Home: 0,
      End: count - 1,
    };
    const next = moves[event.key];
    if (next !== undefined && count > 0) {
      event.preventDefault();
      onSelect?.(Math.min(count - 1, Math.max(0, next)));
    } else if (event.key === "Enter" && selected !== undefined) onOpen?.(selected);
  };
  return (
    <div
      class="virtual-list"
      ref={box}
      role="listbox"
      tabIndex={0}
      aria-label={label}
      aria-activedescendant={selected === undefined ? undefined : `row-${selected}`}
      onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      onKeyDown={onKey}
    >
      <div style={{ height: `${count * rowHeight}px`, position: "relative" }}>
        {Array.from({ length: Math.max(0, end - first) }, (_, i) => first + i).map((index) => (
          <div
            key={index}
            id={`row-${index}`}
            role="option"
            aria-selected={index === selected}
            aria-posinset={index + 1}
            aria-setsize={count}
            class="virtual-row"
            style={{ top: `${index * rowHeight}px`, height: `${rowHeight}px` }}
            onClick={() => onSelect?.(index)}
            onDblClick={() => onOpen?.(index)}
          >
            {row(index)}
          </div>
        ))}
      </div>
    </div>
  );
}
