/**
 * The fields of one vCPU in QEMU's own structure of it (`CPUX86State` …), wherever they were read: from a process through
 * debug information, or from a saved device state through its description. Names are those of QEMU's sources. What a
 * source lacks is undefined or empty.
 */
export interface CpuFields {
  has(name: string): boolean;
  /** A number, unsigned. @throws FormatError when the field is no number */
  bigint(name: string): bigint | undefined;
  /** Elements of an array of numbers, unsigned; undefined where the source has some of them only. */
  bigints(name: string): readonly (bigint | undefined)[];
  /** A structure within this one. */
  struct(name: string): CpuFields | undefined;
  /** Elements of an array of structures. */
  structs(name: string): readonly CpuFields[];
}

/** The first `length` elements of an array of registers; undefined when there are fewer. */
export function registerFile(fields: CpuFields, name: string, length: number): bigint[] | undefined {
  const found = fields.bigints(name);
  return found.length < length ? undefined : found.slice(0, length).map((value) => value ?? 0n);
}

/** Registers by a letter and their number: `r0`, `r1` … */
export function numbered(letter: string, registers: readonly bigint[]): Record<string, bigint> {
  return Object.fromEntries(registers.map((value, i) => [`${letter}${i}`, value]));
}

/** The registers that a source has, by name, of a table from names to fields. */
export function namedRegisters(
  fields: CpuFields,
  table: Readonly<Record<string, string>>,
): Record<string, bigint> {
  const known: Record<string, bigint> = {};
  for (const [name, field] of Object.entries(table)) {
    const value = fields.bigint(field);
    if (value !== undefined) known[name] = value;
  }
  return known;
}
