import { appendTo } from "../../binary/arrays.js";
import { Report } from "../../findings/report.js";
import type { GuestImage } from "../../guest/image.js";
import type { OpenOptions } from "../../guest/options.js";
import { type DoubtfulPart, type Rescue, rescueWarnings } from "../../guest/salvage.js";
import { PageMap } from "../../guest/page-map.js";
import { PAGE_SIZE } from "../../guest/memory.js";
import { type ByteSource, readFully } from "../../io/byte-source.js";
import { joinSources } from "../../io/join.js";
import { describeError, FormatError, TruncatedError } from "../../findings/errors.js";
import { type HvmContextEntry, hvmContextEntries } from "../hvm-context/entries.js";
import { doubtfulMemory } from "../doubtful.js";
import { XEN_ABSENT, xenGuest, type XenGuestParts } from "../domain.js";
import { type LegacyState, readLegacy } from "./final-state.js";
import { hasData, type ToolstackWidth, TYPE } from "./layout.js";
import { hvmContextWarnings } from "../hvm-context/check.js";
import { HVM_RULES } from "../hvm-context/rules.js";
import { LEGACY_RULES } from "./rules.js";
import { type LegacySalvage, salvageOf } from "./salvage.js";
import { markLostPages } from "../lost-pages.js";
import type { Rule } from "../../findings/rule.js";
import type { SourceRange } from "./blob-store.js";
import type { PvVcpuParts } from "../vcpu.js";
import { configInHeader } from "../xl/config.js";

/**
 * The guest of a legacy stream as of its last complete checkpoint, without a converted file:
 * the model is that of the converted stream. With `partial`, one that broke off before is what came of it.
 */
export async function openLegacyGuest(input: ByteSource, options: OpenOptions): Promise<GuestImage> {
  if (options.partial !== true) return openState(input, options);
  const salvage = await salvageOf(input);
  if (salvage === undefined) return openState(input, options);
  return openState(salvage.source, options, salvage);
}

/** What of a salvaged stream's memory is doubtful. @throws FormatError for what is no guest's state */
export async function doubtfulOf(
  salvage: LegacySalvage,
  options: Pick<OpenOptions, "openSpool">,
): Promise<readonly DoubtfulPart[]> {
  if (salvage.stale.length + salvage.shifted.length === 0) return [];
  const guest = await openState(salvage.source, { ...options, partial: true, findKernel: false }, salvage);
  await guest.close?.();
  return guest.rescue?.doubtful ?? [];
}

async function openState(
  input: ByteSource,
  options: OpenOptions,
  salvage?: LegacySalvage,
): Promise<GuestImage> {
  const report = new Report(input.name);
  const warnings: string[] = [];
  /** Where reading ended, and no place after it proves itself. */
  let unread: number | undefined;
  const state = await readLegacy(input, report, {
    // tmem pages are no guest-physical memory: their loss changes nothing here
    allowLoss: true,
    tolerate: (rule) => BESIDE_MEMORY.has(rule) || (salvage !== undefined && rule === LEGACY_RULES.p2mFrame),
    ...(salvage?.head === undefined ? {} : { head: salvage.head }),
    ...(options.partial === true
      ? {
          onIncomplete: (error) => {
            warnings.push(`incomplete: ${describeError(error)}`);
            if ((salvage?.lost.length ?? 0) === 0 && !(error instanceof TruncatedError))
              unread = error.place.offset;
          },
        }
      : {}),
    ...(options.openSpool === undefined ? {} : { openSpool: options.openSpool }),
    ...(options.progress === undefined
      ? {}
      : { progress: (done, total) => options.progress?.(done, total, "reading") }),
  });
  try {
    const memory = indexPages(state, input);
    let rescue: Rescue | undefined;
    const what = "nothing after it could be read";
    const rest = unread === undefined ? [] : [{ start: unread, end: input.size, proof: 0, what }];
    if (salvage !== undefined || rest.length > 0) {
      const { shifted = [], stale = [], head } = salvage ?? {};
      const lost = [...(salvage?.lost ?? []), ...rest];
      rescue = {
        lost,
        doubtful: doubtfulMemory(memory, stale, shifted),
        ...(head === undefined || head.facts.length === 0 ? {} : { head: head.facts }),
      };
      const bytes = lost.reduce((sum, { start, end }) => sum + end - start, 0);
      if (bytes > 0) markLostPages(memory, bytes);
    }
    const { guest, pv } = { guest: state.header.guest, pv: state.pv };
    const kind = salvage?.head === undefined ? guest : salvage.head.guest;
    const parts: XenGuestParts = {
      origin: legacyOrigin(state.header.width),
      source: input.name,
      type: kind === undefined ? undefined : kind === "pv" ? "PV" : "HVM",
      guestWidth: salvage?.head === undefined ? pv?.guestWidth : salvage.head.guestWidth,
      memory,
      config: state.xlHeader && configInHeader(state.xlHeader.bytes),
      tsc: state.tsc,
      ...(guest === "hvm"
        ? {
            hvmParams: state.parameters,
            hvmContext: await hvmContextOf(state, options.partial === true, warnings),
          }
        : {}),
      pvVcpus: guest === "pv" ? await pvParts(state) : undefined,
      p2mFrames: pv?.p2mFrames && [...pv.p2mFrames],
      sharedInfo: state.sharedInfo,
      warnings: [
        ...(rescue === undefined ? [] : rescueWarnings(rescue)),
        ...report.findings.filter(({ code }) => !HVM_CODES.has(code)).map(({ message }) => message),
        ...warnings,
      ],
      close: async () => state.close(),
    };
    const opened = await xenGuest(parts, options);
    return rescue === undefined ? opened : { ...opened, rescue };
  } catch (error) {
    state.close();
    throw error;
  }
}

/** Reported by `hvmContextWarnings`. */
const HVM_CODES: ReadonlySet<string> = new Set(Object.values(HVM_RULES).map(({ code }) => code));

/** Rules about what can't be restored as it is, but takes nothing from the memory: extracting reports them and goes on. */
const BESIDE_MEMORY: ReadonlySet<Rule> = new Set([
  LEGACY_RULES.xlConfig,
  LEGACY_RULES.tscMode,
  ...Object.values(HVM_RULES),
]);

/** What kind of file a legacy stream is, for people. */
export function legacyOrigin(width: ToolstackWidth): string {
  return `legacy Xen migration stream, ${width}-bit toolstack`;
}

async function hvmContextOf(
  state: LegacyState,
  partial: boolean,
  warnings: string[],
): Promise<readonly HvmContextEntry[] | undefined> {
  if (state.hvmContext === undefined) return undefined;
  try {
    const context = await bytesOf(state.hvmContext);
    appendTo(warnings, await hvmContextWarnings(state.source, context));
    return [...hvmContextEntries(context)];
  } catch (error) {
    if (!(error instanceof FormatError) || !partial) throw error;
    warnings.push(`the HVM context can't be read: ${error.message}`);
    return undefined;
  }
}

/** Pages of a state, in its input and in its spool, as one source: the spool's offsets begin after the input's. */
function indexPages(state: LegacyState, input: ByteSource): PageMap {
  const runs = state.runs(Number.MAX_SAFE_INTEGER);
  const joined = joinSources(state.source);
  const memory = new PageMap(joined);
  for (const { pfn, count, type, source, offset } of runs) {
    if (source !== undefined) {
      const available =
        source === input
          ? Math.max(0, Math.min(count, Math.floor((input.size - offset) / PAGE_SIZE)))
          : count;
      if (available > 0) memory.set(pfn, available, joined.startOf(source) + offset);
      if (available < count) memory.absent(pfn + available, count - available, XEN_ABSENT.truncated);
    } else if (state.incomplete && hasData(type)) memory.absent(pfn, count, XEN_ABSENT.truncated);
    else if (type === TYPE.broken) memory.absent(pfn, count, XEN_ABSENT.broken);
    else if (type === TYPE.allocateOnly || hasData(type)) memory.zero(pfn, count, XEN_ABSENT.xalloc);
    else memory.absent(pfn, count, XEN_ABSENT.xtab);
  }
  return memory;
}

async function bytesOf(range: SourceRange | undefined): Promise<Uint8Array> {
  const bytes = new Uint8Array(range?.length ?? 0);
  const n = range === undefined ? 0 : await readFully(range.source, range.offset, bytes);
  return bytes.subarray(0, n);
}

function pvParts(state: LegacyState): Promise<PvVcpuParts[]> {
  return Promise.all(
    state.vcpus.map(async ({ id, context, extended, xsave }) => ({
      id,
      context: await bytesOf(context),
      extended: extended === undefined ? undefined : await bytesOf(extended),
      xsave: xsave === undefined ? undefined : await bytesOf(xsave),
    })),
  );
}
