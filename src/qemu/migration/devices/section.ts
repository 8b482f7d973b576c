/** One section of the stream, RAM parts joined. */
export interface SectionInfo {
  readonly type: "START" | "FULL";
  readonly id: number;
  readonly name: string;
  readonly instance: number;
  readonly version: number;
  /** Of its type byte, from the start of the input. */
  readonly offset: number;
  /** Bytes of its data; for a section in parts those of the first. */
  size: number;
  /** PART and END sections that followed. */
  parts: number;
  ended: boolean;
}

export interface CommandInfo {
  readonly offset: number;
  readonly command: string;
  readonly length: number;
}
