import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { MemoryTable } from "../../../src/open/session/protocol.js";
import { percent } from "../format.js";
import { asProblem } from "../session/client.js";
import type { OpenFile } from "../state/files.js";
import { bindKey } from "../state/keys.js";
import { texts } from "../texts.js";
import { Icon } from "../ui/icons.js";
import { parsePattern } from "./decode.js";

const BUDGET = 32 << 20;
const MOST_HITS = 10_000;

interface SearchProps {
  readonly file: OpenFile;
  readonly table: MemoryTable;
  readonly current: bigint;
  readonly onHit: (address: bigint, length: number) => void;
}

/** Looks through guest-physical memory; hits show in the bytes and on the map. */
export function Search({ file, table, current, onHit }: SearchProps): JSX.Element {
  const input = useRef<HTMLInputElement>(null);
  const [text, setText] = useState("");
  const [ignoreCase, setIgnoreCase] = useState(false);
  const [message, setMessage] = useState("");
  const running = useRef(0);
  const [busy, setBusy] = useState(false);
  const length = useRef(1);
  const hits = file.hits.value;

  const step = (direction: 1 | -1): void => {
    if (hits.length === 0) return;
    const at = Number(current);
    const index = hits.findIndex((hit) => (direction === 1 ? hit > at : hit >= at));
    const place = direction === 1 ? (index === -1 ? 0 : index) : index === -1 ? hits.length - 1 : index - 1;
    const hit = hits[(place + hits.length) % hits.length];
    if (hit !== undefined) onHit(BigInt(hit), length.current);
  };
  useEffect(() => {
    const give = [
      bindKey("/", () => input.current?.focus()),
      bindKey("n", () => step(1)),
      bindKey("N", () => step(-1)),
    ];
    return () => give.forEach((back) => back());
  });
  useEffect(
    () => () => {
      running.current += 1;
    },
    [],
  );

  const find = async (): Promise<void> => {
    running.current += 1;
    const turn = running.current;
    const pattern = parsePattern(text);
    if (pattern === undefined) {
      setMessage(texts.hex.badPattern);
      return;
    }
    if (pattern.length === 0) return;
    length.current = pattern.length;
    const total = table.legend.reduce((sum, kind) => sum + (kind.presence === "absent" ? 0 : kind.bytes), 0);
    const found: number[] = [];
    let next: number | undefined = 0;
    let done = 0;
    setBusy(true);
    file.hits.value = new Float64Array(0);
    try {
      while (next !== undefined && found.length < MOST_HITS) {
        const result: Awaited<ReturnType<typeof file.client.call<"search">>> = await file.client.call(
          "search",
          {
            pattern,
            ignoreCase,
            from: next,
            budget: BUDGET,
            mostHits: MOST_HITS - found.length,
          },
        );
        if (turn !== running.current) return;
        const first = found.length === 0 ? result.hits[0] : undefined;
        for (const hit of result.hits) found.push(hit);
        file.hits.value = Float64Array.from(found);
        if (first !== undefined) onHit(BigInt(first), pattern.length);
        done += result.done;
        next = result.next;
        setMessage(texts.hex.searching(percent(Math.min(done, total), total), found.length));
      }
      setMessage(texts.hex.found(found.length));
    } catch (error) {
      if (turn === running.current) setMessage(asProblem(error).message);
    } finally {
      if (turn === running.current) setBusy(false);
    }
  };
  const stop = (): void => {
    running.current += 1;
    setBusy(false);
  };
  return (
    <form
      class="search"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        void find();
      }}
    >
      <label class="field">
        <Icon name="search" size={15} />
        <input
          ref={input}
          value={text}
          aria-label={texts.hex.searchLabel}
          title={texts.hex.search}
          placeholder={texts.hex.searchHint}
          spellcheck={false}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        />
      </label>
      <button
        type="button"
        class="button"
        aria-pressed={ignoreCase}
        title={texts.hex.ignoreCaseHint}
        aria-label={texts.hex.ignoreCaseHint}
        onClick={() => setIgnoreCase(!ignoreCase)}
      >
        {texts.hex.ignoreCase}
      </button>
      {busy ? (
        <button type="button" class="button" onClick={stop}>
          {texts.hex.stop}
        </button>
      ) : (
        <button type="submit" class="button">
          {texts.hex.find}
        </button>
      )}
      {hits.length > 0 && (
        <span class="segmented">
          <button
            type="button"
            title={texts.hex.previous}
            aria-label={texts.hex.previous}
            onClick={() => step(-1)}
          >
            <Icon name="back" size={14} />
          </button>
          <button type="button" title={texts.hex.next} aria-label={texts.hex.next} onClick={() => step(1)}>
            <Icon name="right" size={14} />
          </button>
        </span>
      )}
      <span class="quiet" role="status">
        {message}
      </span>
    </form>
  );
}
