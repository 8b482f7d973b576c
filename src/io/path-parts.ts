/** `C:\dumps\core`, `\\server\dumps\core`, `dumps\core`: a path with a slash and no drive may have backslashes in names. */
const hasBackslashes = (path: string): boolean => /^(?:[A-Za-z]:|\\\\)/.test(path) || !path.includes("/");

/** Index of the last separator of a path, of POSIX or of Windows; -1 when it has none. */
export function lastSeparator(path: string): number {
  const slash = path.lastIndexOf("/");
  return hasBackslashes(path) ? Math.max(slash, path.lastIndexOf("\\")) : slash;
}

/** The directory that a path is in, without its last separator; `.` where the path names none. */
export function directoryOf(path: string): string {
  const at = lastSeparator(path);
  return at < 0 ? "." : path.slice(0, at);
}

/** The last part of a path. */
export function fileNameOf(path: string): string {
  return path.slice(lastSeparator(path) + 1);
}
