import { because } from "../guest/absent-reason.js";
import { X86_64 } from "../../src/guest/arch/x86.js";
import type { Architecture } from "../../src/guest/arch/architecture.js";
import type { GuestImage, VmcoreInfo } from "../../src/guest/image.js";
import { PageMap } from "../../src/guest/page-map.js";
import type { X86Registers } from "../../src/guest/vcpu.js";
import type { RandomSink } from "../../src/io/byte-sink.js";
import { bytesSource } from "../../src/io/byte-source.js";

/** A file in memory that can be written anywhere. */
export class MemoryFile implements RandomSink {
  readonly name = "memory";
  #bytes = new Uint8Array(1 << 16);
  #size = 0;
  #position = 0;

  write(bytes: Uint8Array): void {
    this.writeAt(this.#position, bytes);
    this.#position += bytes.length;
  }

  writeAt(offset: number, bytes: Uint8Array): void {
    const end = offset + bytes.length;
    if (end > this.#bytes.length) this.#grow(end);
    this.#bytes.set(bytes, offset);
    this.#size = Math.max(this.#size, end);
  }

  truncate(size: number): void {
    if (size > this.#bytes.length) this.#grow(size);
    this.#bytes.fill(0, size);
    this.#size = size;
  }

  #grow(least: number): void {
    const larger = new Uint8Array(Math.max(least, this.#bytes.length * 2));
    larger.set(this.#bytes);
    this.#bytes = larger;
  }

  bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#size);
  }
}

export const INFO_TEXT =
  "OSRELEASE=6.1.0-model\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)=ffffffff82a10000\nNUMBER(phys_base)=-186646528\n";

const general = Object.fromEntries(
  [
    "rax",
    "rbx",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "rsp",
    "rbp",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
    "rip",
    "rflags",
  ].map((name, i) => [name, 0x1111_0000_0000_0000n + BigInt(i)]),
) as unknown as X86Registers["general"];

const REGISTERS: X86Registers = {
  kind: "x86",
  general,
  segments: { cs: { selector: 16, base: 0n, limit: 0xffff_ffff, flags: 0xa09b00 } },
  gdt: { base: 0xffff_fe00_0000_1000n, limit: 0x7f },
  idt: { base: 0xffff_fe00_0000_0000n, limit: 0xfff },
  control: { cr0: 0x8005_0033n, cr2: 0n, cr3: 0x1000n, cr4: 0x6f0n },
  debug: {},
  msrs: { kernel_gs_base: 0n },
};

/** Contents of a page by its frame: zeros, texts, noise, runs. */
export function pageContents(frame: number, size = 4096): Uint8Array {
  const page = new Uint8Array(size);
  const kind = frame % 7;
  if (kind === 1) page.set(Buffer.from(`page ${frame} `.repeat(600)).subarray(0, size));
  else if (kind === 2) {
    let seed = frame + 1;
    for (let i = 0; i < size; i += 1) {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      page[i] = seed >>> 24;
    }
  } else if (kind === 3) page.fill(0xff);
  else if (kind === 4) page[size - 1] = (frame & 0xff) | 1;
  else if (kind === 5) page[0] = (frame & 0xff) | 1;
  else if (kind === 6) for (let i = 0; i < size; i += 2) page[i] = (i >> 4) ^ frame;
  return page;
}

export interface ModelOptions {
  readonly arch?: Architecture;
  readonly pageSize?: number;
  readonly vmcoreInfo?: VmcoreInfo;
  readonly guestType?: string;
}

/** A guest of two pieces of memory with a hole between them, absent and known-zero pages. */
export function modelGuest(options: ModelOptions = {}): { guest: GuestImage; frames: readonly number[] } {
  const { arch = X86_64, pageSize = 4096 } = options;
  const high = arch.bits === 64 ? 2 ** 32 / pageSize : 0x2_0000;
  const present = [
    ...Array.from({ length: 300 }, (_, i) => i),
    ...Array.from({ length: 65 }, (_, i) => high + i),
  ];
  const source = bytesSource(
    Uint8Array.from(Buffer.concat(present.map((frame) => pageContents(frame, pageSize)))),
  );
  const memory = new PageMap(source, { pageSize });
  for (const [i, frame] of present.entries()) memory.set(frame, 1, i * pageSize);
  memory.absent(300, 10, because("ballooned out"));
  memory.zero(310, 21, { kind: "never-written", text: "never written" });
  const zeros = Array.from({ length: 21 }, (_, i) => 310 + i);
  const guest: GuestImage = {
    arch,
    memory,
    vcpus: arch.name === "x86_64" ? [{ id: 0, registers: REGISTERS }] : [],
    facts: {
      origin: "model",
      source: "model",
      pageSize,
      ...(options.guestType === undefined ? {} : { guestType: options.guestType }),
      ...(options.vmcoreInfo === undefined ? {} : { vmcoreInfo: options.vmcoreInfo }),
    },
    warnings: [],
  };
  return { guest, frames: [...present.slice(0, 300), ...zeros, ...present.slice(300)] };
}
