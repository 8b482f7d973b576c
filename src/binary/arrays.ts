/** Adds items to a list one by one: `push(...items)` fails where a file made them more than arguments can be. */
export function appendTo<T>(list: T[], items: Iterable<T>): void {
  for (const item of items) list.push(item);
}
