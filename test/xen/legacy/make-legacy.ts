/** Writes legacy streams piece by piece, for tests and benches: right ones, and wrong ones where asked to. */
export class LegacyMaker {
  readonly width: 32 | 64;
  readonly #emit: (bytes: Uint8Array) => void;

  constructor(width: 32 | 64, emit: (bytes: Uint8Array) => void) {
    this.width = width;
    this.#emit = emit;
  }

  raw(bytes: Uint8Array): this {
    this.#emit(bytes);
    return this;
  }

  u32(...values: readonly number[]): this {
    const bytes = Buffer.alloc(4 * values.length);
    for (const [i, value] of values.entries()) bytes.writeInt32LE(value | 0, 4 * i);
    return this.raw(bytes);
  }

  u64(...values: readonly bigint[]): this {
    const bytes = Buffer.alloc(8 * values.length);
    for (const [i, value] of values.entries()) bytes.writeBigUInt64LE(BigInt.asUintN(64, value), 8 * i);
    return this.raw(bytes);
  }

  ulongs(values: Iterable<number>): this {
    const list = [...values];
    if (this.width === 32) return this.u32(...list);
    const bytes = Buffer.alloc(8 * list.length);
    for (const [i, value] of list.entries()) bytes.writeUInt32LE(value >>> 0, 8 * i);
    return this.raw(bytes);
  }

  xlHeader(config: string, json: boolean): this {
    const text = Buffer.from(json ? `${config}\0` : config);
    this.raw(Buffer.from("Xen saved domain, xl format\n \0 \r", "latin1"));
    return this.u32(0x01020304, json ? 1 : 0, 0, 4 + text.length, text.length).raw(text);
  }

  hvmHeader(p2mSize: number): this {
    return this.ulongs([p2mSize]);
  }

  pvHeader(
    p2mSize: number,
    guestWidth: 4 | 8,
    xsaveSize: number | undefined,
    frames: readonly number[],
  ): this {
    const context = guestWidth === 8 ? 5168 : 2800;
    this.ulongs([p2mSize]).raw(new Uint8Array(this.width / 8).fill(0xff));
    this.u32(8 + context + 8 + (xsaveSize === undefined ? 0 : 12));
    this.raw(Buffer.from("vcpu")).u32(context).raw(new Uint8Array(context));
    this.raw(Buffer.from("extv")).u32(0);
    if (xsaveSize !== undefined) this.raw(Buffer.from("xcnt")).u32(4, xsaveSize + 16);
    return this.ulongs(frames);
  }

  /** @param entries type << 28 | pfn */
  batch(entries: readonly number[], ...data: readonly Uint8Array[]): this {
    this.u32(entries.length).ulongs(entries);
    for (const part of data) this.raw(part);
    return this;
  }

  tsc(mode: number, nsec: bigint, khz: number, incarnation: number): this {
    return this.u32(-7, mode).u64(nsec).u32(khz, incarnation);
  }

  vcpuInfo(maxId: number, online: readonly number[]): this {
    const words = Array.from({ length: Math.floor(maxId / 64) + 1 }, (_, word) =>
      online.filter((id) => id >> 6 === word).reduce((bits, id) => bits | (1n << BigInt(id & 63)), 0n),
    );
    return this.u32(-2, maxId).u64(...words);
  }

  parameter(id: number, value: bigint): this {
    return this.u32(id, 0).u64(value);
  }

  toolstack(entries: readonly { phys: bigint; start: bigint; size: bigint; name?: string }[]): this {
    const parts = entries.flatMap(({ phys, start, size, name }) => {
      const head = Buffer.alloc(28);
      head.writeBigUInt64LE(phys, 0);
      head.writeBigUInt64LE(start, 8);
      head.writeBigUInt64LE(size, 16);
      const text = name === undefined ? Buffer.alloc(0) : Buffer.from(`${name}\0`, "latin1");
      head.writeUInt32LE(text.length, 24);
      return [head, text, Buffer.from("leak").subarray(0, this.width === 64 ? 4 : 0)];
    });
    const body = Buffer.concat(parts);
    return this.u32(-18, 8 + body.length, 1, entries.length).raw(body);
  }

  lastCheckpoint(): this {
    return this.u32(-9);
  }

  compressed(coded: Uint8Array): this {
    return this.u32(-12).ulongs([coded.length]).raw(coded);
  }

  endOfBody(): this {
    return this.u32(0);
  }

  hvmTail(pfns: readonly [bigint, bigint, bigint], context: Uint8Array): this {
    return this.u64(...pfns)
      .u32(context.length)
      .raw(context);
  }

  qemu(data: Uint8Array, signature = "DeviceModelRecord0002"): this {
    this.raw(Buffer.from(signature));
    if (signature !== "QemuDeviceModelRecord") this.u32(data.length);
    return this.raw(data);
  }

  pvTail(
    unmapped: readonly number[],
    vcpus: readonly { context: Uint8Array; extended: Uint8Array; xsave?: Uint8Array }[],
    sharedInfo: Uint8Array,
  ): this {
    this.u32(unmapped.length).ulongs(unmapped);
    for (const { context, extended, xsave } of vcpus) {
      this.raw(context).raw(extended);
      if (xsave !== undefined) this.u64(7n, BigInt(xsave.length)).raw(xsave);
    }
    return this.raw(sharedInfo);
  }
}

/** Codes a page as the sender does: against `before`, whole without it. */
export function codePage(before: Uint8Array | undefined, now: Uint8Array): Uint8Array {
  if (before === undefined) return Buffer.concat([Uint8Array.of(0x80), now]);
  const same = (word: number): boolean => {
    for (let i = word * 4; i < word * 4 + 4; i += 1) if (before[i] !== now[i]) return false;
    return true;
  };
  const parts: Uint8Array[] = [];
  for (let word = 0; word < 1024; ) {
    const kept = same(word);
    let run = 1;
    while (run < 127 && word + run < 1024 && same(word + run) === kept) run += 1;
    parts.push(Uint8Array.of(kept ? 0x80 | run : run));
    if (!kept) parts.push(now.subarray(word * 4, (word + run) * 4));
    word += run;
  }
  if (parts.every((part) => part.length === 1 && (part[0] ?? 0) >= 0x80)) return Uint8Array.of(0);
  return Buffer.concat(parts);
}

/** A plain stream of a large guest, contents taken from a few pages over and over. */
export function largeStream(guest: "hvm" | "pv", pages: number, emit: (bytes: Uint8Array) => void): void {
  const maker = new LegacyMaker(64, emit);
  const data = new Uint8Array(1024 * 4096);
  for (let i = 0, x = 1; i < data.length; i += 1, x = (x * 1103515245 + 12345) >>> 0) data[i] = x >>> 16;
  if (guest === "hvm") maker.hvmHeader(pages);
  else
    maker.pvHeader(
      pages,
      8,
      832,
      Array.from({ length: Math.ceil(pages / 512) }, (_, i) => i),
    );
  maker.tsc(0, 1n, 2_400_000, 1);
  for (let pfn = 0; pfn < pages; pfn += 1024) {
    const count = Math.min(1024, pages - pfn);
    maker.batch(
      Array.from({ length: count }, (_, i) => pfn + i),
      data.subarray(0, count * 4096),
    );
  }
  maker.vcpuInfo(0, [0]);
  if (guest === "hvm") maker.parameter(-3, 0xfeffe000n).parameter(-8, 0xfeffcn);
  maker.toolstack([]).lastCheckpoint().endOfBody();
  if (guest === "hvm") {
    maker.hvmTail([0xfeff0n, 0xfeff1n, 0xfeff2n], hvmContext(0)).qemu(new Uint8Array(60_000));
  } else {
    const vcpu = { context: new Uint8Array(5168), extended: new Uint8Array(128), xsave: new Uint8Array(832) };
    maker.pvTail([], [vcpu], new Uint8Array(4096));
  }
}

/** A HVM context of a header and its end, 40 bytes, whose CPU is `seed`: the least that is right. */
export function hvmContext(seed: number): Uint8Array {
  const bytes = Buffer.alloc(40);
  bytes.writeUInt16LE(1, 0);
  bytes.writeUInt32LE(24, 4);
  bytes.writeUInt32LE(0x54381286, 8);
  bytes.writeUInt32LE(1, 12);
  bytes.writeUInt32LE(seed, 24);
  return bytes;
}
