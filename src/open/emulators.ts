import type { GuestInspection } from "../guest/inspection.js";
import { type ByteSource, type ByteStream, isByteSource, readFully, sliceSource } from "../io/byte-source.js";
import type { QevmInspection } from "../qemu/migration/inspect.js";
import { isQevm } from "../qemu/migration/detect.js";
import type { XenStreamInspection } from "../xen/stream/inspect.js";

/** An emulator of a Xen save whose state is a QEVM stream, with what that holds. */
export interface EmulatorInspection {
  readonly emulator: string;
  readonly index: number;
  readonly offset: number;
  readonly bytes: number;
  readonly state?: QevmInspection;
}

const QEVM_HEAD = 8;

/**
 * Adds `state` to the emulators of a Xen save: QEMU's devices, read as its migration streams are. The two formats
 * don't know each other, so they meet here. A pipe has gone by; its inspection stays as it is.
 */
export async function withEmulatorStates(
  inspection: GuestInspection,
  input: ByteSource | ByteStream,
): Promise<GuestInspection> {
  if (inspection.kind !== "xen-stream" || !isByteSource(input)) return inspection;
  const found = inspection as XenStreamInspection;
  const emulators: EmulatorInspection[] = [];
  for (const emulator of found.details.emulators) {
    const state = sliceSource(input, emulator.offset, emulator.bytes);
    const head = new Uint8Array(QEVM_HEAD);
    const whole = (await readFully(state, 0, head)) === head.length;
    if (!whole || !isQevm(head)) {
      emulators.push(emulator);
      continue;
    }
    // loaded when there is one: most commands never need QEMU's formats
    const { inspectStream } = await import("../qemu/migration/inspect.js");
    emulators.push({ ...emulator, state: await inspectStream(state) });
  }
  const details = { ...found.details, emulators };
  return { ...found, details };
}
