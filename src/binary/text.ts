/** A text without the NULs at its end. Its time is linear, which that of a regular expression for it isn't. */
export function trimNuls(text: string): string {
  let end = text.length;
  while (end > 0 && text.charCodeAt(end - 1) === 0) end -= 1;
  return text.slice(0, end);
}
