/** Why the contents of memory are not in an input. */
export type AbsentKind =
  /** The input ends before them. */
  | "truncated"
  /** They are there and don't unpack, or what leads to them is broken. */
  | "damaged"
  /** Left out on purpose by the program that wrote the dump. */
  | "excluded"
  /** The guest has no memory there: given back, never populated. Nothing is lost. */
  | "unpopulated"
  /** The input never held them, though the guest has memory there. */
  | "not-saved"
  /** They are in another file: shared memory, another part of a split dump. */
  | "elsewhere"
  /** The input holds contents whose guest-physical address isn't known. */
  | "no-address"
  /** Not absent but zero: nothing was ever written there. */
  | "never-written";

/** Why memory is absent: a kind for programs, a short phrase for people. One object is shared by many ranges. */
export interface AbsentReason {
  readonly kind: AbsentKind;
  readonly text: string;
}

/** Declares the reasons that a format has for absent memory, by short names. */
export function absentReasons<R extends Record<string, AbsentReason>>(table: R): R {
  return table;
}

/** Bytes absent for one reason. */
export interface AbsentSummary extends AbsentReason {
  readonly bytes: number;
}
