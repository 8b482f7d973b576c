import { type Machine, machineNamed, MACHINES } from "../../machines.js";
import type { QevmStream } from "../stream.js";

/** A stream's machine: by its chipset, its name, or the name of its RAM. @param named as the domain's XML says */
export function machineOf(stream: QevmStream, named: string | undefined): Machine | undefined {
  const name = stream.configuration.machine ?? named ?? "";
  const byChipset = MACHINES.find(({ roms }) => {
    const chipset = typeof roms === "object" ? roms.chipset : undefined;
    return chipset !== undefined && stream.sections.some((section) => section.name.endsWith(`/${chipset}`));
  });
  return (
    byChipset ??
    machineNamed(name) ??
    MACHINES.find(({ ram, split }) => split === undefined && hasBlock(stream, ram))
  );
}

function hasBlock(stream: QevmStream, name: string): boolean {
  return stream.ram?.blocks.some((block) => block.name === name) === true;
}
