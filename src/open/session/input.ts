import type { GuestImage } from "../../guest/image.js";
import type { GuestInspection } from "../../guest/inspection.js";
import type { OpenOptions } from "../../guest/options.js";
import type { ByteSource } from "../../io/byte-source.js";
import { detectFormat } from "../detect.js";
import { inspect, openGuest, type Verification, verify } from "../open.js";
import type { Identity } from "./protocol.js";

/** An input as a session needs it: whoever makes one decides where it is and what may be opened beside it. */
export interface SessionInput {
  readonly identity: Identity;
  /** The input's bytes; undefined for a running process. */
  readonly source?: ByteSource;
  openGuest(options: OpenOptions): Promise<GuestImage>;
  inspect(options: OpenOptions): Promise<GuestInspection>;
  verify?(progress: (done: number, total: number | undefined) => void): Promise<Verification>;
  close(): void;
}

export interface SourceInputOptions {
  /** What else the input may open and where it may unpack; added to each call's own. */
  readonly open?: Omit<OpenOptions, "partial" | "progress">;
  readonly compression?: string | undefined;
  readonly close?: () => void;
}

/** A source of a known format as a session's input. @throws FormatError `open/…` when no format takes it */
export async function sourceInput(
  source: ByteSource,
  { open = {}, compression, close }: SourceInputOptions = {},
): Promise<SessionInput> {
  // a damaged head is one of the guest's problems, not the end
  const { format } = await detectFormat(source, undefined, { partial: true });
  return {
    identity: {
      name: source.name,
      size: source.size,
      format: format.id,
      title: format.title,
      ...(compression === undefined ? {} : { compression }),
    },
    source,
    openGuest: (options) => openGuest(source, { ...open, ...options }),
    inspect: (options) => inspect(source, { ...open, ...options }),
    verify: (progress) => verify(source, { progress }),
    close: () => close?.(),
  };
}
