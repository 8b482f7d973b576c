/** `KEY=VALUE` lines as a map. */
export function parseVmcoreInfo(text: string): ReadonlyMap<string, string> {
  const entries = text.split("\n").flatMap((line): [string, string][] => {
    const at = line.indexOf("=");
    return at > 0 ? [[line.slice(0, at), line.slice(at + 1)]] : [];
  });
  return new Map(entries);
}

/** Whether a text is VMCOREINFO: ASCII lines of KEY=VALUE that begin with OSRELEASE and name the page size. */
export function isVmcoreInfo(text: string): boolean {
  if (!text.startsWith("OSRELEASE=") || !text.includes("\nPAGESIZE=")) return false;
  return text.split("\n").every((line) => line === "" || /^[A-Za-z0-9_.()\-*[\] ]+=[\x20-\x7e]*$/.test(line));
}

/** An address as VMCOREINFO writes those of symbols: hexadecimal digits; undefined when missing or malformed. */
export function hexValue(value: string | undefined): bigint | undefined {
  return value !== undefined && /^[0-9a-f]{1,16}$/.test(value) ? BigInt(`0x${value}`) : undefined;
}

/** A number as VMCOREINFO writes them: decimal with a sign, or hexadecimal with 0x. */
export function numberValue(value: string | undefined): bigint | undefined {
  if (value === undefined || !/^(0x[0-9a-f]{1,16}|-?\d{1,20})$/i.test(value)) return undefined;
  return BigInt(value);
}
