import type { ComponentChildren, JSX } from "preact";
import { useState } from "preact/hooks";
import { VirtualList } from "./virtual-list.js";

export interface GridColumn {
  readonly title: string;
  /** Of CSS grid: `90px`, `minmax(0, 2fr)`. */
  readonly width: string;
  readonly isNumber?: boolean;
}

interface GridListProps {
  readonly label: string;
  readonly columns: readonly GridColumn[];
  readonly count: number;
  readonly cells: (index: number) => readonly ComponentChildren[];
  /** Index of the row that is chosen, where the caller keeps it. */
  readonly selected?: number | undefined;
  readonly onSelect?: (index: number) => void;
  readonly onOpen?: (index: number) => void;
  /** Least width in CSS pixels: below it the list is scrolled sideways. */
  readonly least?: number;
}

const ROW = 26;

/** A long table: columns with heads over a list of which only the rows that show exist. */
export function GridList(props: GridListProps): JSX.Element {
  const { label, columns, count, cells, onOpen, least = 560 } = props;
  const [own, setOwn] = useState<number>();
  const selected = props.onSelect === undefined ? own : props.selected;
  const style = { gridTemplateColumns: columns.map(({ width }) => width).join(" ") };
  return (
    <div class="grid-list">
      <div class="grid-inner" style={{ minWidth: `${least}px` }}>
        <div class="grid-row grid-head" style={style} aria-hidden="true">
          {columns.map(({ title, isNumber }) => (
            <span key={title} class={isNumber === true ? "number" : ""}>
              {title}
            </span>
          ))}
        </div>
        <VirtualList
          count={count}
          rowHeight={ROW}
          label={label}
          selected={selected}
          onSelect={props.onSelect ?? setOwn}
          {...(onOpen === undefined ? {} : { onOpen })}
          row={(index) => (
            <div class="grid-row" style={style}>
              {cells(index).map((cell, i) => (
                <span key={i} class={columns[i]?.isNumber === true ? "number" : ""}>
                  {cell}
                </span>
              ))}
            </div>
          )}
        />
      </div>
    </div>
  );
}
