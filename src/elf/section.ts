/** One section. */
export interface ElfSection {
  readonly index: number;
  readonly name: string;
  readonly type: number;
  readonly flags: bigint;
  readonly address: bigint;
  readonly offset: number;
  /** Bytes in the file (compressed ones: packed). */
  readonly size: number;
  readonly link: number;
  readonly info: number;
  readonly entrySize: number;
}
