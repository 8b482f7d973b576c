import { latin1, readU64, viewOf } from "../../../binary/layout.js";
import type { Rule } from "../../../findings/rule.js";
import { FormatError } from "../../../findings/errors.js";
import { ByteReader } from "../../../io/byte-reader.js";
import type { ByteSource } from "../../../io/byte-source.js";
import { ORDER } from "../layout.js";
import { QEMU_MIGRATION_RULES } from "../rules.js";
import {
  channelHeader,
  MULTIFD_MAGIC,
  MULTIFD_VERSION,
  PACKET_FLAG,
  PACKET_PAGES,
  packetHeader,
} from "./layout.js";
import { type Codec, type PackedRun, unpackPages } from "./unpack.js";

/** Window of the reader of a channel. */
const WINDOW = 256 << 10;
/** Bytes of an offset. */
const OFFSET = 8;

/** Reports a problem of a channel: the message names it. */
export type ReportChannel = (rule: Rule, message: string) => void;

/** A packet's contents are lost: they could not be unpacked. */
export const LOST_DATA = -1;

/** Packets of all channels, one entry of each array a packet. */
export class PacketLog {
  count = 0;
  number = new Float64Array(256);
  /** How often all channels had come together before it. */
  epoch = new Uint32Array(256);
  /** Which channel it is of. */
  channel = new Uint16Array(256);
  /** Offset of its head in the channel. */
  head = new Float64Array(256);
  /** Offset of its contents: in the channel, or where they were unpacked to; LOST_DATA. */
  data = new Float64Array(256);

  add(packet: { number: number; epoch: number; channel: number; head: number; data: number }): number {
    if (this.count === this.number.length) this.#grow();
    const at = this.count;
    this.number[at] = packet.number;
    this.epoch[at] = packet.epoch;
    this.channel[at] = packet.channel;
    this.head[at] = packet.head;
    this.data[at] = packet.data;
    this.count += 1;
    return at;
  }

  #grow(): void {
    const grown = <T extends Float64Array | Uint32Array | Uint16Array>(from: T, to: T): T => {
      to.set(from);
      return to;
    };
    const size = this.count * 2;
    this.number = grown(this.number, new Float64Array(size));
    this.epoch = grown(this.epoch, new Uint32Array(size));
    this.channel = grown(this.channel, new Uint16Array(size));
    this.head = grown(this.head, new Float64Array(size));
    this.data = grown(this.data, new Float64Array(size));
  }

  /** Packets in the order in which their pages count. */
  ordered(): Uint32Array {
    const { epoch, number } = this;
    return Uint32Array.from({ length: this.count }, (_, i) => i).sort(
      (a, b) => (epoch[a] ?? 0) - (epoch[b] ?? 0) || (number[a] ?? 0) - (number[b] ?? 0),
    );
  }
}

/** Places for page offsets in a packet. */
export const offsetsOf = (pageSize: number): number => Math.floor(PACKET_PAGES / pageSize);

export interface ChannelOptions {
  readonly pageSize: number;
  /** Takes unpacked pages in order; returns the offset of the first. */
  readonly keep: (bytes: Uint8Array) => Promise<void>;
  /** Bytes kept so far. */
  readonly kept: () => number;
}

/** Reads a channel's packets into `log`; what is packed is unpacked. What is wrong goes to `report`. */
export async function readChannel(
  source: ByteSource,
  channel: number,
  log: PacketLog,
  report: ReportChannel,
  options: ChannelOptions,
): Promise<void> {
  const { pageSize } = options;
  const places = offsetsOf(pageSize);
  const headSize = packetHeader.size + places * OFFSET;
  const reader = new ByteReader(source, { window: WINDOW });
  const packed: PackedRun[] = [];
  let codec: Codec | undefined;
  let epoch = 0;
  await reader.skip(channelHeader.size);
  while (await reader.need(1)) {
    const head = reader.position;
    const where = `the packet at 0x${head.toString(16)}`;
    if (!(await reader.need(headSize))) {
      report(QEMU_MIGRATION_RULES.channelCut, `it ends inside ${where}`);
      break;
    }
    const view = viewOf(reader.peek(headSize));
    let packet: ReturnType<typeof packetHeader.read>;
    try {
      packet = packetHeader.read(view, 0, ORDER);
    } catch (error) {
      report(QEMU_MIGRATION_RULES.channelPacket, `${where}: ${(error as Error).message}`);
      break;
    }
    const { magic, version, flags, normalPages, zeroPages, number } = packet;
    const method = flags & ~PACKET_FLAG.sync;
    if (
      magic !== MULTIFD_MAGIC ||
      version !== MULTIFD_VERSION ||
      normalPages + zeroPages > places ||
      (method & PACKET_FLAG.others) !== 0 ||
      method === (PACKET_FLAG.zlib | PACKET_FLAG.zstd)
    ) {
      report(QEMU_MIGRATION_RULES.channelPacket, `${where}: ${describe(packet)}`);
      break;
    }
    // what a packet without contents says of their size is left from the one before
    const dataSize = normalPages === 0 ? 0 : packet.dataSize;
    if (method === 0 && dataSize !== normalPages * pageSize) {
      report(QEMU_MIGRATION_RULES.channelPacket, `${where}: ${describe(packet)}`);
      break;
    }
    const data = head + headSize;
    await reader.skip(headSize);
    const isWhole = (await reader.skip(dataSize)) === dataSize;
    if (!isWhole) {
      report(QEMU_MIGRATION_RULES.channelCut, `it ends inside ${where}`);
      break;
    }
    if (normalPages + zeroPages > 0) {
      const at = log.add({ number, epoch, channel, head, data: method === 0 ? data : LOST_DATA });
      if (method !== 0 && normalPages > 0) {
        packed.push({ packet: at, offset: data, length: dataSize, pages: normalPages });
        codec = method === PACKET_FLAG.zlib ? "zlib" : "zstd";
      }
    }
    if ((flags & PACKET_FLAG.sync) !== 0) epoch += 1;
  }
  if (codec === undefined) return;
  let wanted = 0;
  for (const { pages } of packed) wanted += pages * pageSize;
  const first = options.kept();
  try {
    await unpackPages(source, codec, packed, wanted, options.keep);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    report(QEMU_MIGRATION_RULES.channelData, error.message);
  }
  const end = options.kept();
  let at = first;
  for (const { packet, pages } of packed) {
    if (at + pages * pageSize > end) break;
    log.data[packet] = at;
    at += pages * pageSize;
  }
}

/** Offsets of a packet's pages, those with contents first. @throws FormatError for one that is no offset */
export function pageOffset(head: DataView, index: number): number {
  return readU64(head, packetHeader.size + index * OFFSET, false);
}

/** The RAM block that a packet's pages are of. */
export function blockOf(head: Uint8Array): string {
  const at = packetHeader.offsetOf("block");
  const end = head.indexOf(0, at);
  return latin1(head.subarray(at, end === -1 || end > packetHeader.size ? packetHeader.size : end));
}

function describe({
  magic,
  version,
  flags,
  normalPages,
  zeroPages,
  dataSize,
}: Record<string, unknown>): string {
  const hex = (value: unknown): string => `0x${Number(value).toString(16)}`;
  return (
    `magic ${hex(magic)}, version ${String(version)}, flags ${hex(flags)}, ` +
    `${String(normalPages)} and ${String(zeroPages)} pages, ${String(dataSize)} bytes`
  );
}
