/** A scratch file that indexes too large for memory go to. It is read and written at once, and nobody has to close it. */
export interface SpillFile {
  /** @throws SystemError that names the file when it can't be written: no space is left */
  write(offset: number, bytes: Uint8Array): void;
  /** Fills `into` with what was written there. @throws SystemError */
  read(offset: number, into: Uint8Array): void;
}

/** Opens a scratch file. @throws SystemError */
export type OpenSpill = () => SpillFile;

let installed: OpenSpill | undefined;

/** Says where indexes spill to, which needs a platform: until then they keep everything in memory. */
export function installSpill(open: OpenSpill): void {
  installed = open;
}

/** What was installed. */
export const installedSpill = (): OpenSpill | undefined => installed;
