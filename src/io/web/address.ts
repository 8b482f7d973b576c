/** Whether a name is a web address. */
export function isWebAddress(name: string): boolean {
  return /^https?:\/\//i.test(name);
}
