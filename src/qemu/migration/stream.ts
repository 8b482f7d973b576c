import type { AbsentReason } from "../../guest/absent.js";
import type { HeadFact } from "../../guest/head.js";
import type { LostPart } from "../../guest/salvage.js";
import type { Configuration } from "./configuration.js";
import type { DeviceState } from "./devices/devices.js";
import type { CommandInfo, SectionInfo } from "./devices/section.js";
import type { BlockPages, RamBlock } from "./ram/blocks.js";
import type { RamReader } from "./ram/records.js";

/** A whole stream, its memory indexed. */
export interface QevmStream {
  readonly source: string;
  /** Where the stream begins in its input. */
  readonly start: number;
  readonly configuration: Configuration;
  readonly pageSize: number;
  readonly sections: readonly SectionInfo[];
  readonly commands: readonly CommandInfo[];
  readonly ram: RamReader | undefined;
  readonly pages: ReadonlyMap<RamBlock, BlockPages>;
  /** Where the pages are that blocks lack, if not never sent. */
  readonly absences: ReadonlyMap<RamBlock, AbsentReason>;
  readonly devices: readonly DeviceState[];
  readonly description:
    | { readonly offset: number; readonly length: number; readonly devices: number }
    | undefined;
  /** True when the end mark was reached. */
  readonly complete: boolean;
  /** Damaged parts that were passed over. */
  readonly lost: readonly LostPart[];
  /** What a damaged head held, as far as the rest shows it. */
  readonly headFacts: readonly HeadFact[];
  /** Bytes of the input that belong to the stream. */
  readonly end: number;
}
