import type { HeadFact } from "../../guest/head.js";
import type { LostPart } from "../../guest/salvage.js";
import type { Configuration } from "./configuration.js";
import type { MappedBlock } from "./ram/mend-mapped.js";

/** What is known of a stream whose head is damaged. */
export interface StreamHead {
  readonly configuration: Configuration;
  /** Where reading goes on: at the section `ram`, or at a record of RAM where its list is damaged. */
  readonly at: number;
  /** Undefined: the section `ram` is whole. */
  readonly ram: HeadRam | undefined;
  readonly lost: readonly LostPart[];
  readonly facts: readonly HeadFact[];
}

/** RAM of a stream whose list of blocks is damaged. */
export interface HeadRam {
  /** Offset of the section. */
  readonly section: number;
  readonly id: number;
  readonly blocks: readonly MappedBlock[];
  /** Block of the first records, until one names another; undefined: it can't be told. */
  readonly block: string | undefined;
  /** Address of the first record in its block. */
  readonly address: number;
}
