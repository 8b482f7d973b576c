/**
 * Codes of a page index: an offset in the source (0 or more), NOWHERE, one of a table of reasons, or a token of the
 * owner's decoder. All are whole numbers above -2^33 and below 2^53.
 */

/** The page does not exist. */
export const NOWHERE = -1;
const FIRST_TOKEN = -(2 ** 17);

/** Code of entry `index` (below 2^16) of the owner's table of reasons. */
export const reasonCode = (index: number): number => -2 - index;
export const isReason = (code: number): boolean => code < NOWHERE && code > FIRST_TOKEN;
export const reasonOf = (code: number): number => -2 - code;
/** Code of the decoder's token (below 2^32). */
export const tokenCode = (token: number): number => FIRST_TOKEN - token;
export const isToken = (code: number): boolean => code <= FIRST_TOKEN;
export const tokenOf = (code: number): number => FIRST_TOKEN - code;

/** The code `pages` further on in a run that begins with `code`: contents follow each other in the source, tokens count up. */
export function advanced(code: number, pages: number, pageSize: number): number {
  if (code >= 0) return code + pages * pageSize;
  return isToken(code) ? code - pages : code;
}
