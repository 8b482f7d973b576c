import { latin1, viewOf } from "../../../binary/layout.js";
import type { Rule } from "../../../findings/rule.js";
import { type ByteSource, readFully } from "../../../io/byte-source.js";
import { joinSources, type JoinedSource } from "../../../io/join.js";
import { MemorySpool, type Spool } from "../../../io/spool.js";
import { QEVM_MAGIC } from "../layout.js";
import { LOST, type PagesBeside, type RamBlock } from "../ram/blocks.js";
import type { RamIndex } from "../ram/index.js";
import { QEMU_MIGRATION_RULES } from "../rules.js";
import { handedOver } from "./cpr.js";
import { CPR_MAGIC, MULTIFD_MAGIC, packetHeader } from "./layout.js";
import { blockOf, LOST_DATA, offsetsOf, PacketLog, pageOffset, readChannel } from "./multifd.js";

export interface ChannelsOptions {
  readonly pageSize: number;
  /** Keep unpacked pages, for reading memory. */
  readonly forReading: boolean;
  /** Files of memory that is not in the stream, by the names of its blocks. */
  readonly backing: ReadonlyMap<string, ByteSource>;
  /** Where unpacked pages go; default: memory. */
  readonly spool?: (() => Spool) | undefined;
  readonly report: (rule: Rule, message: string) => void;
}

/** The connections beside a stream, captured: pages of multifd channels, names of memory that was handed over. */
export class Channels implements PagesBeside {
  /** Multifd channels. */
  readonly #sources: readonly ByteSource[];
  readonly #log: PacketLog;
  readonly #order: Uint32Array;
  readonly #spool: Spool | undefined;
  readonly #options: ChannelsOptions;
  /** Names of blocks whose memory went as file descriptors (cpr-transfer). */
  readonly handedOver: ReadonlySet<string>;
  #joined: JoinedSource | undefined;
  #next = 0;

  private constructor(
    sources: readonly ByteSource[],
    log: PacketLog,
    spool: Spool | undefined,
    names: ReadonlySet<string>,
    options: ChannelsOptions,
  ) {
    this.#sources = sources;
    this.#log = log;
    this.#order = log.ordered();
    this.#spool = spool;
    this.handedOver = names;
    this.#options = options;
  }

  /** Whether there is a multifd channel among them. */
  get hasPages(): boolean {
    return this.#sources.length > 0;
  }

  /** Reads captured connections, each by what it begins with. */
  static async read(given: readonly ByteSource[], options: ChannelsOptions): Promise<Channels> {
    const log = new PacketLog();
    const sources: ByteSource[] = [];
    const names = new Set<string>();
    let spool: Spool | undefined;
    let kept = 0;
    const keep = async (bytes: Uint8Array): Promise<void> => {
      if (options.forReading) {
        spool ??= options.spool?.() ?? new MemorySpool();
        await spool.writeAt(kept, bytes);
      }
      kept += bytes.length;
    };
    for (const source of given) {
      const report = (rule: Rule, message: string): void =>
        options.report(rule, `channel ${source.name}: ${message}`);
      const head = new Uint8Array(4);
      await readFully(source, 0, head);
      const magic = viewOf(head).getUint32(0);
      if (magic === MULTIFD_MAGIC) {
        const how = { pageSize: options.pageSize, keep, kept: () => kept };
        await readChannel(source, sources.length, log, report, how);
        sources.push(source);
      } else if (magic === CPR_MAGIC) {
        for (const name of await handedOver(source, report)) names.add(name);
      } else {
        const what =
          magic === QEVM_MAGIC ? "a main channel" : `it begins with ${JSON.stringify(latin1(head))}`;
        report(QEMU_MIGRATION_RULES.channelHead, `neither a multifd nor a cpr channel: ${what}`);
      }
    }
    return new Channels(sources, log, spool, names, options);
  }

  /** The stream's own input and all that pages are in beside it, as one source. */
  joinedWith(main: ByteSource): ByteSource {
    const unpacked = this.#spool === undefined ? [] : [this.#spool];
    const { backing } = this.#options;
    this.#joined = joinSources(main.name, [main, ...this.#sources, ...unpacked, ...backing.values()]);
    return this.#joined;
  }

  async settle(
    blocks: ReadonlyMap<string, RamBlock>,
    index: RamIndex,
    meetings = Number.POSITIVE_INFINITY,
  ): Promise<void> {
    const head = new Uint8Array(packetHeader.size + offsetsOf(this.#options.pageSize) * 8);
    for (; this.#next < this.#order.length; this.#next += 1) {
      const packet = this.#order[this.#next] ?? 0;
      if ((this.#log.epoch[packet] ?? 0) >= meetings) return;
      const channel = this.#sources[this.#log.channel[packet] ?? 0];
      if (channel === undefined) continue;
      await readFully(channel, this.#log.head[packet] ?? 0, head);
      this.#place(packet, channel, head, index, blocks);
    }
  }

  /** Gives blocks of which nothing was sent the contents of their files. To be called after the last `settle`. */
  takeBackings(blocks: ReadonlyMap<string, RamBlock>, index: RamIndex): void {
    const { backing, pageSize, report } = this.#options;
    for (const [name, source] of backing) {
      const block = blocks.get(name);
      const wrong =
        block === undefined
          ? `there is no RAM block '${name}', only ${[...blocks.keys()].join(", ")}`
          : source.size < block.length
            ? `it is smaller than block '${name}' of 0x${block.length.toString(16)} bytes`
            : block.counts.plain + block.counts.zero > 0
              ? `block '${name}' is in the stream`
              : undefined;
      if (block === undefined || wrong !== undefined)
        report(QEMU_MIGRATION_RULES.backing, `${source.name}: ${wrong ?? ""}`);
      else index.plainRun(block.firstFrame, block.pages, this.#joined?.startOf(source) ?? 0, pageSize);
    }
  }

  #place(
    packet: number,
    channel: ByteSource,
    head: Uint8Array,
    index: RamIndex,
    blocks: ReadonlyMap<string, RamBlock>,
  ): void {
    const { pageSize, report } = this.#options;
    const view = viewOf(head);
    const { normalPages, zeroPages, flags } = packetHeader.read(view, 0, "big");
    const name = blockOf(head);
    const block = blocks.get(name);
    const at = `channel ${channel.name}: the packet at 0x${(this.#log.head[packet] ?? 0).toString(16)}`;
    if (block === undefined) {
      report(
        QEMU_MIGRATION_RULES.unknownBlock,
        `${at}: no block ${JSON.stringify(name)} is in the block list`,
      );
      return;
    }
    const data = this.#log.data[packet] ?? LOST_DATA;
    const isPacked = flags > 1;
    const home = isPacked ? this.#spool : channel;
    const start = home === undefined ? 0 : (this.#joined?.startOf(home) ?? 0);
    for (let i = 0; i < normalPages + zeroPages; i += 1) {
      const offset = pageOffset(view, i);
      if (offset >= block.length || offset % pageSize !== 0) {
        report(QEMU_MIGRATION_RULES.outside, `${at}: page 0x${offset.toString(16)} of block '${name}'`);
        continue;
      }
      const frame = block.firstFrame + offset / pageSize;
      if (index.has(frame)) block.counts.again += 1;
      if (i >= normalPages) {
        block.counts.zero += 1;
        index.zero(frame);
        continue;
      }
      block.counts.plain += 1;
      if (data === LOST_DATA) index.lost(frame, LOST.channel);
      else index.plain(frame, start + data + i * pageSize);
    }
  }
}
