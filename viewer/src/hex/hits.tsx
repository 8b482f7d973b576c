import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { hex } from "../format.js";
import { texts } from "../texts.js";
import { VirtualList } from "../ui/virtual-list.js";

const ROW = 22;

/** Addresses where a search found something; Enter or a double click shows one. */
export function Hits({
  hits,
  onOpen,
}: {
  readonly hits: Float64Array;
  readonly onOpen: (address: bigint) => void;
}): JSX.Element {
  const [selected, setSelected] = useState<number>();
  useEffect(() => setSelected(undefined), [hits]);
  return (
    <div class="hex-hits">
      <VirtualList
        count={hits.length}
        rowHeight={ROW}
        label={texts.hex.hits}
        selected={selected}
        onSelect={setSelected}
        onOpen={(index) => onOpen(BigInt(hits[index] ?? 0))}
        row={(index) => <code>{hex(hits[index] ?? 0)}</code>}
      />
    </div>
  );
}
