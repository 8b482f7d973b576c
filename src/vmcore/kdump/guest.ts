import { AARCH64, ARM } from "../../guest/arch/arm.js";
import type { Architecture } from "../../guest/arch/architecture.js";
import { architectureOfPrstatus, architectureOfUname } from "../../guest/arch/architectures.js";
import type { GuestImage } from "../../guest/image.js";
import { X86_64 } from "../../guest/arch/x86.js";
import { PPC64 } from "../../guest/arch/ppc64.js";
import { NT_PRSTATUS } from "../../elf/layout.js";
import type { OpenOptions } from "../../guest/options.js";
import { withVmcoreInfo } from "../../guest/kernel/brought-vmcoreinfo.js";
import type { ByteSource } from "../../io/byte-source.js";
import { formatError } from "../../findings/diagnostics.js";
import { TruncatedError } from "../../findings/errors.js";
import { rescueWarnings } from "../../guest/salvage.js";
import { headerLayout } from "./layout.js";
import { openKdump, type OpenKdump } from "./open.js";
import type { KdumpFile } from "./read.js";
import { UnpackedMemory, UnpackThreads } from "./unpacked-memory.js";
import { KDUMP_RULES } from "./rules.js";
import { decodeVcpus } from "../notes.js";
import { closeSource } from "./split.js";

/** What writers put where a name is not known. */
const UNNAMED: ReadonlySet<string> = new Set(["", "(none)", "Unknown"]);

/** Machine by uname, or by the form of the vCPUs' notes; undefined where neither is known. */
function knownArchitecture({ header, form: { bits, order }, notes }: KdumpFile): Architecture | undefined {
  const state = notes.find((note) => note.name === "CORE" && note.type === NT_PRSTATUS);
  return (
    architectureOfUname(header.machine, bits, order) ??
    architectureOfPrstatus(state?.descriptor.length, order)
  );
}

/** Machine by uname, by the form of the vCPUs' notes, or without any name by width and block size alone. @throws FormatError for an unknown name */
export function kdumpArchitecture(file: KdumpFile): Architecture {
  const { name, header, form } = file;
  const { bits, order } = form;
  const known = knownArchitecture(file);
  if (known !== undefined) return known;
  if (!UNNAMED.has(header.machine))
    throw formatError(
      KDUMP_RULES.machine,
      name,
      { offset: headerLayout(bits).offsetOf("machine") },
      `machine '${header.machine.replaceAll(/[^ -~]/g, "?")}' of ${bits} bits, ${order} endian`,
    );
  return guessedArchitecture(file);
}

/** The architecture of a dump; of a damaged one a guess where its name is damaged as well. */
function architectureOf(file: KdumpFile, isDamaged: boolean): { arch: Architecture; isGuess: boolean } {
  if (!isDamaged) return { arch: kdumpArchitecture(file), isGuess: false };
  const known = knownArchitecture(file);
  return { arch: known ?? guessedArchitecture(file), isGuess: known === undefined };
}

/** What machines of a width, byte order and block size are most often. */
function guessedArchitecture({ form: { bits, order }, notes, blockSize }: KdumpFile): Architecture {
  if (bits === 32) return ARM;
  if (order === "big") return PPC64;
  const isX86 = notes.some((note) => note.name === "QEMU");
  return !isX86 && blockSize === 65536 ? AARCH64 : X86_64;
}

/** phys_base of the header beside VMCOREINFO's, when they differ. */
export function physBaseDisagreement(file: KdumpFile): string | undefined {
  const told = file.vmcorePhysBase;
  if (told === undefined || BigInt.asUintN(64, told) === BigInt.asUintN(64, file.subHeader.phys_base))
    return undefined;
  return `phys_base is ${file.subHeader.phys_base} in the header, ${told} in VMCOREINFO, which is taken`;
}

/** The model of a kdump-compressed dump. */
export async function openKdumpGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  const threads = options.unpackers && new UnpackThreads(options.unpackers);
  try {
    return await kdumpGuest(await openKdump(input, options), input, options, threads);
  } catch (error) {
    await threads?.close();
    throw error;
  }
}

/** The model of a dump whose files are open. */
export async function kdumpGuest(
  opened: OpenKdump,
  input: ByteSource,
  options: Pick<OpenOptions, "partial">,
  threads?: UnpackThreads,
): Promise<GuestImage> {
  const { files, memory: map, pagesOf, codecs, warnings, lost, doubtful } = opened;
  const [file] = files;
  if (file === undefined)
    throw formatError(KDUMP_RULES.signature, input.name, { offset: 0 }, "not a kdump-compressed dump");
  if (file.flattened?.complete === false && options.partial !== true)
    throw new TruncatedError(KDUMP_RULES.unfinished, "the flattened dump ends without its end marker", 32, {
      source: input.name,
      offset: input.size,
    });
  const { arch, isGuess } = architectureOf(file, lost.length > 0);
  const disagreement = physBaseDisagreement(file);
  const form = [
    ...(file.flattened === undefined ? [] : ["flattened"]),
    ...(file.isSplit ? [`${files.length} of a split set`] : []),
  ].join(", ");
  const { nodename, release, header_version } = file.header;
  const memory =
    threads === undefined || codecs.length === 0
      ? map
      : new UnpackedMemory(map, pagesOf, () => threads.pool(codecs));
  const guest: GuestImage = {
    arch,
    memory,
    vcpus: decodeVcpus(file.notes, arch),
    facts: {
      origin: `kdump-compressed dump, version ${header_version}${form === "" ? "" : ` (${form})`}`,
      source: input.name,
      pageSize: file.blockSize,
      ...(isGuess ? { archIsGuess: true as const } : {}),
      ...(nodename === "" || nodename === "(none)" ? {} : { name: nodename }),
      ...(file.erased.length === 0 ? {} : { erased: file.erased }),
      ...(file.vmcoreInfo === undefined ? {} : { vmcoreInfo: { text: file.vmcoreInfo } }),
      specific: {
        kind: "kdump",
        dumpLevel: file.subHeader.dump_level,
        kernelRelease: release === "" ? undefined : release,
      },
    },
    warnings: [
      ...warnings,
      ...(disagreement === undefined ? [] : [disagreement]),
      ...rescueWarnings({ lost, doubtful }),
    ],
    ...(lost.length + doubtful.length === 0 ? {} : { rescue: { lost, doubtful } }),
    close: async () => {
      await threads?.close();
      for (const other of files.slice(1)) closeSource(other.input);
    },
  };
  // to look everywhere would be to unpack everything
  return withVmcoreInfo(guest, false);
}
