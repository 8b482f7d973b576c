/** A named value for people. `key` is stable: the viewer has a text for it. */
export interface Fact {
  readonly key: string;
  readonly value: string;
}
