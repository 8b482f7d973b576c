import { bytesOf, type DeviceState, findField } from "../devices/devices.js";

const KIB = 1024;
const MIB = 1024 * KIB;

/** Bytes of RAM below and above 4 GiB, as the clock's CMOS of a PC says; those above start again at 1 TiB. */
export interface CmosRam {
  readonly below: number;
  readonly above: number;
}

/** What the clock's CMOS says of a PC's RAM; undefined where a stream has no such device. */
export function ramInCmos(devices: readonly DeviceState[]): CmosRam | undefined {
  const clock = devices.find(({ name }) => name === "mc146818rtc");
  const field = clock === undefined ? undefined : findField(clock, ({ name }) => name === "cmos_data");
  const cmos = bytesOf(field?.value);
  if (cmos === undefined || cmos.length < 0x5e) return undefined;
  const word = (at: number): number => (cmos[at] ?? 0) | ((cmos[at + 1] ?? 0) << 8);
  return {
    above: (word(0x5b) + (cmos[0x5d] ?? 0) * 0x10000) * 64 * KIB,
    below: word(0x34) === 0 ? word(0x30) * KIB + MIB : word(0x34) * 64 * KIB + 16 * MIB,
  };
}
