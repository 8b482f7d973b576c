import * as fs from "node:fs";
import * as path from "node:path";
import * as zlib from "node:zlib";
import { bytesSource } from "../src/io/byte-source.js";
import { crc32c } from "../src/io/codecs/crc32c.js";
import { loadCompressor } from "../src/io/codecs/codec.js";
import { saveHeader as libvirtHeader, SAVE_MAGIC } from "../src/qemu/libvirt/layout.js";
import type { WriterId } from "../src/guest/output-format.js";
import type { Vcpu } from "../src/guest/vcpu.js";
import { OUTPUTS } from "../src/open/outputs.js";
import { openGuest } from "../src/open/open.js";
import {
  LIBVIRT_LIBXL_MAGIC,
  libvirtLibxlHeader,
  XAPI_MAGIC,
  XAPI_RECORD,
  xapiRecordHeader,
} from "../src/xen/envelopes/layout.js";
import { AVML_MAGIC, avmlHeader } from "../src/vmcore/avml/layout.js";
import { makeImage } from "../test/disk/qcow2/qcow2-maker.js";
import { elfWith, program } from "../test/dwarf/synthetic.js";
import { buildElf } from "../test/elf/elf-writer.js";
import { buffer, collect, encodeDelta, pcDevices } from "../test/qemu/migration/qevm-writer.js";
import { fixtures, sharedData } from "../test/shared.js";
import { MemoryFile } from "../test/vmcore/model.js";
import { syntheticGuest } from "../test/vmcore/synthetic.js";
import { codePage, LegacyMaker } from "../test/xen/legacy/make-legacy.js";
import { hvmContext, makeStream } from "../test/xen/stream/stream-maker.js";

/** Bytes to start from, by name. */
export type Inputs = Record<string, Uint8Array>;

const PAGE = 4096;
const page = (byte: number): Uint8Array => new Uint8Array(PAGE).map((_, i) => (i % 7 === 0 ? byte : i >> 4));

/** Every version, byte order, layer and kind of guest of Xen's streams. */
export function xenStreams(): Inputs {
  const inputs: Inputs = {};
  for (const guest of ["pv", "hvm"] as const)
    for (const version of [2, 3] as const)
      for (const layer of ["xl", "libxl", "libxc"] as const) {
        const order = layer === "libxc" && version === 2 ? "big" : "little";
        inputs[`${guest}-${version}-${layer}`] = makeStream({
          guest,
          version,
          layer,
          order,
          checkpoints: version - 2,
        });
      }
  inputs["pv32"] = makeStream({
    guest: "pv",
    version: 3,
    layer: "libxc",
    order: "little",
    width: 4,
    vcpus: 2,
  });
  return inputs;
}

/** A legacy stream of a few pages. */
export function legacyStreams(): Inputs {
  const inputs: Inputs = {};
  const make = (name: string, width: 32 | 64, write: (maker: LegacyMaker) => void): void => {
    const parts: Uint8Array[] = [];
    write(new LegacyMaker(width, (bytes) => parts.push(Uint8Array.from(bytes))));
    inputs[name] = Uint8Array.from(Buffer.concat(parts));
  };
  for (const width of [32, 64] as const) {
    for (const isWrapped of [false, true])
      make(`hvm${width}${isWrapped ? "-xl" : ""}`, width, (maker) => {
        if (isWrapped) maker.xlHeader('{"c_info":{"name":"g"}}', true);
        maker.hvmHeader(8).tsc(0, 1n, 2_400_000, 1).batch([0, 1, 2], page(1), page(2), page(3));
        maker.vcpuInfo(0, [0]).parameter(-3, 0xfeffe000n).toolstack([]).lastCheckpoint().endOfBody();
        maker.hvmTail([0xfeff0n, 0xfeff1n, 0xfeff2n], hvmContext(1)).qemu(new Uint8Array(40));
      });
    make(`pv${width}`, width, (maker) => {
      maker.pvHeader(8, 8, 832, [0]).batch([0, 1, 2], page(1), page(2), page(3)).vcpuInfo(0, [0]).endOfBody();
      const vcpu = {
        context: new Uint8Array(5168),
        extended: new Uint8Array(128),
        xsave: new Uint8Array(832),
      };
      maker.pvTail([3, 4], [vcpu], page(9));
    });
  }
  make("hvm64-remus", 64, (maker) => {
    maker.hvmHeader(8).batch([0, 1], page(1), page(2)).vcpuInfo(0, [0]).lastCheckpoint().endOfBody();
    const tail = (): void => {
      maker.hvmTail([0xfeff0n, 0xfeff1n, 0xfeff2n], hvmContext(1)).qemu(new Uint8Array(40));
    };
    tail();
    maker.batch([0, 1]).compressed(Buffer.concat([codePage(page(1), page(4)), codePage(page(2), page(2))]));
    maker.vcpuInfo(0, [0]).endOfBody();
    tail();
  });
  return inputs;
}

const record = (type: number, body: Uint8Array): Buffer =>
  Buffer.concat([xapiRecordHeader.encode({ type, length: body.length }, "little"), body]);

/** XAPI's and libvirt's own around Xen streams. */
export function envelopes(): Inputs {
  const streams = xenStreams();
  const [libxl = new Uint8Array(0), libxc = new Uint8Array(0)] = [
    streams["hvm-3-libxl"],
    streams["hvm-3-libxc"],
  ];
  const xml = Buffer.from("<domain type='xen'><name>g</name></domain>\0");
  const header = libvirtLibxlHeader.encode(
    {
      magic: LIBVIRT_LIBXL_MAGIC,
      version: 2,
      xmlLength: xml.length,
      unused: Array.from({ length: 10 }, () => 0),
    },
    "little",
  );
  const xapi = (type: number, stream: Uint8Array): Uint8Array =>
    Uint8Array.from(
      Buffer.concat([
        XAPI_MAGIC,
        record(XAPI_RECORD.xenops, Buffer.from("((word_size 64))")),
        record(type, new Uint8Array(0)),
        stream,
        ...(type === XAPI_RECORD.libxcLegacy
          ? []
          : [record(XAPI_RECORD.qemuTraditional, Buffer.from("QEMU!"))]),
        record(XAPI_RECORD.end, new Uint8Array(0)),
      ]),
    );
  return {
    libvirt: Uint8Array.from(Buffer.concat([header, xml, libxl])),
    "xapi-libxc": xapi(XAPI_RECORD.libxc, libxc),
    "xapi-libxl": xapi(XAPI_RECORD.libxl, libxl),
    "xapi-legacy": xapi(XAPI_RECORD.libxcLegacy, legacyStreams()["hvm64"] ?? new Uint8Array(0)),
  };
}

/** Small QEMU streams: plain, compressed, with differences, mapped-ram, virtio-mem. */
export function qemuStreams(): Inputs {
  const size = 256 * PAGE;
  const plug = 16 * PAGE;
  const make = (capabilities: readonly string[], isRound: boolean, footers = true): Uint8Array =>
    Uint8Array.from(
      collect((writer) => {
        writer.header().configuration("pc-i440fx-10.0", capabilities);
        writer.device("0000:00:03.0/virtio-mem-device-early", [
          buffer("addr", Buffer.from("0000000100000000", "hex"), "uint64"),
          buffer("region_size", Buffer.from("0000000000010000", "hex"), "uint64"),
          buffer("block_size", Buffer.from("0000000000001000", "hex"), "uint64"),
          buffer("node", Buffer.alloc(4), "uint32"),
          buffer("size", Buffer.from("0000000000002000", "hex"), "uint64"),
          buffer("bitmap", Buffer.from("0000000000000003", "hex"), "bitmap"),
        ]);
        writer.startRam([
          { name: "pc.ram", length: size },
          { name: "0000:00:03.0/plug", length: plug },
        ]);
        writer.ram(!isRound, () => {
          for (let i = 0; i < 256; i += 1)
            if (i > 6 || i % 3 === 0) writer.zero("pc.ram", i * PAGE);
            else writer.plain("pc.ram", i * PAGE, page(i));
          writer.plain("0000:00:03.0/plug", 0, page(77));
          writer.zero("0000:00:03.0/plug", PAGE);
        });
        if (isRound)
          writer.ram(true, () => {
            writer.delta("pc.ram", PAGE, encodeDelta(page(1), page(5)));
            writer.compressed("pc.ram", 2 * PAGE, page(6));
          });
        pcDevices(writer, size, 0);
        writer.end();
      }, footers),
    );
  return {
    plain: make([], false),
    rounds: make(["xbzrle", "compress"], true),
    "no-footers": make([], false, false),
  };
}

export function libvirtSaves(): Inputs {
  const xml = Buffer.from(
    "<domain type='qemu'><name>g</name><os><type machine='pc-i440fx-10.0'>hvm</type></os></domain>\0",
  );
  const stream = qemuStreams()["plain"] ?? new Uint8Array(0);
  const make = (compressed: number, body: Uint8Array): Uint8Array =>
    Uint8Array.from(
      Buffer.concat([
        libvirtHeader.encode(
          {
            magic: SAVE_MAGIC,
            version: 2,
            dataLength: xml.length,
            wasRunning: 1,
            compressed,
            cookieOffset: 0,
            unused: Array.from({ length: 14 }, () => 0),
          },
          "little",
        ),
        xml,
        body,
      ]),
    );
  return { raw: make(0, stream), gzip: make(1, zlib.gzipSync(stream)) };
}

export function qcow2Images(): Inputs {
  const state = qemuStreams()["plain"] ?? new Uint8Array(0);
  return {
    v3: makeImage({ snapshots: [{ id: "1", name: "one", state }] }),
    v2: makeImage({ version: 2, clusterBits: 10, snapshots: [{ id: "1", name: "one", state, extra: 0 }] }),
    extended: makeImage({ clusterBits: 14, extendedL2: true, snapshots: [{ id: "1", name: "one", state }] }),
    compressed: makeImage({
      snapshots: [{ id: "1", name: "one", state, forms: ["compressed", "plain", "compressed"] }],
    }),
  };
}

async function outputs(
  id: WriterId,
  settings: readonly ("none" | "zlib" | "lzo" | "snappy" | "zstd" | undefined)[],
): Promise<Inputs> {
  const inputs: Inputs = {};
  const { vcpus } = await openGuest(bytesSource(qemuStreams()["plain"] ?? new Uint8Array(0)));
  for (const compress of settings) {
    const options = compress === undefined ? {} : { compress };
    const output = OUTPUTS.find((one) => one.id === id);
    const file = new MemoryFile();
    await (await output?.load(options))?.write(small(vcpus), file, options);
    inputs[compress ?? "plain"] = file.bytes();
  }
  return inputs;
}

/** A guest of a dozen pages, some absent, some zero, some far away. */
function small(vcpus: readonly Vcpu[]): ReturnType<typeof syntheticGuest> {
  return syntheticGuest(
    [
      { start: 0, end: 4 * PAGE, presence: "present" },
      {
        start: 4 * PAGE,
        end: 6 * PAGE,
        presence: "zero",
        reason: { kind: "never-written", text: "never written" },
      },
      { start: 2 ** 32, end: 2 ** 32 + 3 * PAGE, presence: "present" },
    ],
    { vcpus, vmcoreInfo: "OSRELEASE=6.1.0-small\nPAGESIZE=4096\n" },
  );
}

export const elfVmcores = (): Promise<Inputs> => outputs("elf", [undefined]);
export const kdumps = (): Promise<Inputs> => outputs("kdump", ["none", "zlib", "lzo", "snappy", "zstd"]);
export const limes = (): Promise<Inputs> => outputs("lime", [undefined]);
export const xenCores = (): Promise<Inputs> => outputs("xen-core", [undefined]);

/** By the format's description: a stored and a packed chunk. */
export async function avmls(): Promise<Inputs> {
  const compress = await loadCompressor("snappy");
  const word = (kind: number, size: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(kind + size * 256);
    return bytes;
  };
  const identifier = Buffer.concat([word(0xff, 6), Buffer.from("sNaPpY")]);
  const parts: Uint8Array[] = [];
  for (const [start, byte] of [
    [0x1000, 1],
    [0x10_0000, 2],
  ] as const) {
    const contents = Buffer.concat([page(byte), page(byte + 1)]);
    const mask = (bytes: Uint8Array): Buffer => {
      const crc = crc32c(bytes);
      const masked = (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
      const out = Buffer.alloc(4);
      out.writeUInt32LE(masked);
      return out;
    };
    const packed = compress(contents.subarray(0, PAGE), 0);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(contents.length));
    parts.push(
      avmlHeader.encode(
        { magic: AVML_MAGIC, version: 2, start, end: start + contents.length - 1, padding: 0 },
        "little",
      ),
      identifier,
      word(0, packed.length + 4),
      mask(contents.subarray(0, PAGE)),
      packed,
      word(1, PAGE + 4),
      mask(contents.subarray(PAGE)),
      contents.subarray(PAGE),
      length,
    );
  }
  return { two: Uint8Array.from(Buffer.concat(parts)) };
}

export function elfFiles(): Inputs {
  const inputs: Inputs = {};
  for (const bits of [32, 64] as const)
    for (const order of ["little", "big"] as const) {
      inputs[`${bits}-${order}`] = buildElf({
        bits,
        order,
        sections: [
          { name: ".text", data: page(1) },
          { name: ".note.gnu.build-id", data: note(order), type: 7 },
        ],
        segments: [
          { type: 1, vaddr: 0x1000n, data: page(2) },
          { type: 4, data: note(order) },
        ],
      });
      inputs[`dwarf-${bits}-${order}`] = dwarf(order, bits, 4);
    }
  return inputs;
}

/** A build id. */
function note(order: "little" | "big"): Uint8Array {
  const bytes = Buffer.from("000000000000000000000000474e5500deadbeef", "hex");
  for (const [i, value] of [4, 4, 3].entries())
    if (order === "little") bytes.writeUInt32LE(value, 4 * i);
    else bytes.writeUInt32BE(value, 4 * i);
  return bytes;
}

const dwarf = (order: "little" | "big", bits: 32 | 64, version: number): Uint8Array =>
  elfWith(program(order, { version, is64: false, addressSize: bits / 8 }), order, bits);

export function dwarfFiles(): Inputs {
  const inputs: Inputs = {};
  for (const order of ["little", "big"] as const)
    for (const bits of [32, 64] as const)
      for (const version of [2, 3, 4, 5]) inputs[`${bits}-${order}-${version}`] = dwarf(order, bits, version);
  return inputs;
}

/** Inputs of a data folder beside the checkout, where there is one, that are small when unpacked. */
export function shared(folder: string, matches: RegExp, largest = 256 << 10): Inputs {
  const inputs: Inputs = {};
  const from = path.join(sharedData, folder);
  if (!fs.existsSync(from)) return inputs;
  for (const name of fs.readdirSync(from)) {
    if (!matches.test(name)) continue;
    const file = path.join(from, name);
    if (fs.statSync(file).size <= largest)
      inputs[`${folder}/${name}`] = Uint8Array.from(fs.readFileSync(file));
  }
  return inputs;
}

/** A committed file, unpacked. */
export function fixture(...name: readonly string[]): Uint8Array {
  const bytes = fs.readFileSync(path.join(fixtures, ...name));
  return Uint8Array.from(name.at(-1)?.endsWith(".gz") === true ? zlib.gunzipSync(bytes) : bytes);
}
