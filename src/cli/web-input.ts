import type { ByteSource, ByteStream } from "../io/byte-source.js";
import { isByteSource } from "../io/byte-source.js";
import { FileSource, openInput } from "../io/node/files.js";
import { isWebAddress } from "../io/web/address.js";
import { counted } from "./present/presenter.js";
import { printError, size } from "./terminal.js";

/** Of a larger input, memory isn't read over the network only to look for a kernel. */
const MOST_SEARCHED = 256 << 20;

/** What `inspect` says of an input that is large and far. */
export const NOT_SEARCHED =
  "all of the input would be read over the network: its memory isn't searched for a kernel at which no register points";

/** Whether an input comes over the network, and is too large to be read as a whole without being asked for it. */
export function isLargeAndFar(name: string, input: ByteSource | ByteStream): boolean {
  // a packed one is unpacked here
  const isFar = isWebAddress(name) && isByteSource(input) && input.packed === undefined;
  return isFar && input.size > MOST_SEARCHED;
}

/** An input by the name it has on the command line, and what must be given back. */
export interface NamedInput {
  readonly input: ByteSource | ByteStream;
  close(): void;
}

/**
 * Opens a file, `-` or a web address. For an address it is said, once it is closed, what was asked of the server.
 * @param say whether such things are said, on standard error
 */
export async function openNamed(name: string, say: boolean): Promise<NamedInput> {
  if (!isWebAddress(name)) {
    const input = openInput(name);
    return { input, close: () => (input instanceof FileSource ? input.close() : undefined) };
  }
  const [{ openHttp }, { nodeAsk }] = await Promise.all([
    import("../io/web/http.js"),
    import("../io/node/http-ask.js"),
  ]);
  const opened = await openHttp(name, { fetch: nodeAsk() });
  const { input, statistics } = opened;
  if (say && !isByteSource(input))
    printError(`guestscope: ${input.name}: the server gives no ranges: it is read from start to end`);
  return {
    input,
    close() {
      opened.close();
      if (!say) return;
      const { requests, retries, bytes } = statistics;
      const whole = isByteSource(input) ? ` of ${size(input.size)}` : "";
      const again = retries === 0 ? "" : `, ${counted(retries, "request")} made again`;
      printError(
        `guestscope: ${input.name}: ${counted(requests, "request")}, ${size(bytes)}${whole}${again}`,
      );
    },
  };
}
