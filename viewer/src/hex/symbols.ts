import { useEffect, useRef, useState } from "preact/hooks";
import type { Space } from "../../../src/open/session/protocol.js";
import type { OpenFile } from "../state/files.js";

/** Milliseconds that bytes stand still before their symbols are asked for. */
const PAUSE = 120;
const MOST = 4096;
/** Addresses from here on are the kernel's. */
const UPPER_HALF = 1n << 63n;

/** Whether the kernel of a file is known, so that its symbols can be asked for. */
export function hasKernel(file: OpenFile): boolean {
  const { overview } = file.known;
  return overview.value.state === "ready" && overview.value.value.software.length > 0;
}

/** Names of symbols by address, asked for when the addresses are looked at: what isn't answered yet isn't there. */
export function useSymbols(
  file: OpenFile,
  space: Space,
  addresses: readonly bigint[],
): ReadonlyMap<bigint, string> {
  const known = useRef(new Map<bigint, string>());
  const [, setArrived] = useState(0);
  const isOn = space !== "file" && space !== "physical" && hasKernel(file);
  const first = addresses[0] ?? 0n;
  useEffect(() => {
    if (!isOn) return undefined;
    const timer = setTimeout(() => {
      const missing = addresses.filter((one) => one >= UPPER_HALF && !known.current.has(one));
      if (missing.length === 0) return;
      file.client.call("linuxSymbols", { addresses: missing }).then(
        (names) => {
          if (known.current.size > MOST) known.current.clear();
          for (const [i, address] of missing.entries()) known.current.set(address, names[i] ?? "");
          setArrived((n) => n + 1);
        },
        // a kernel without symbols
        () => undefined,
      );
    }, PAUSE);
    return () => clearTimeout(timer);
  }, [file, isOn, first, addresses.length]);
  return known.current;
}

/** The symbol that begins in a row, whose last byte lies in `place`: `schedule+0x5e/0xd0`. */
export function beginsInRow(place: string | undefined, columns: number): string {
  const [, name = "", offset = ""] = /^([^+]+)(?:\+0x([0-9a-f]+))?/.exec(place ?? "") ?? [];
  return name !== "" && Number.parseInt(offset || "0", 16) < columns ? name : "";
}
