/*
 * The head of an input says what its records can't be read without. Where it is damaged, each fact of it is asked of
 * what else holds it: records of one kind of guest, lengths of contexts, the place where records begin. What nothing
 * says stays unknown.
 */

/** A fact that a damaged head held. */
export interface HeadFact {
  /** What it is a fact of: `guest type`. */
  readonly fact: string;
  /** Undefined: it isn't known. */
  readonly value?: string;
  /** What it is known from. */
  readonly from?: string;
}

/** What may hold a fact beside a damaged head; `value` is undefined where it says nothing. */
export interface Witness<T> {
  readonly from: string;
  readonly value: T | undefined;
}

/** A fact as a witness has it. */
export interface Testimony<T> {
  readonly value: T;
  readonly from: string;
}

/** What the first witness says that says anything: they come with the surest first. */
export function askWitnesses<T>(witnesses: readonly Witness<T>[]): Testimony<T> | undefined {
  for (const { from, value } of witnesses) if (value !== undefined) return { value, from };
  return undefined;
}

/** A fact for people, unknown where no witness says it. */
export function headFact<T>(
  fact: string,
  testimony: Testimony<T> | undefined,
  text: (value: T) => string = String,
): HeadFact {
  return testimony === undefined ? { fact } : { fact, value: text(testimony.value), from: testimony.from };
}

/** Warnings that say what a damaged head held, a fact a line. */
export function headWarnings(facts: readonly HeadFact[]): string[] {
  return facts.map(({ fact, value, from }) =>
    value === undefined
      ? `damaged head: the ${fact} is not known`
      : `damaged head: the ${fact} is ${value}${from === undefined ? "" : `, by ${from}`}`,
  );
}
