import { hexText } from "../../binary/text.js";
import { latin1 } from "../../binary/layout.js";
import type { StructDescription } from "./devices/description.js";
import { Frame, isName } from "./frame.js";
import { SECTION } from "./layout.js";
import { QEMU_MIGRATION_RULES } from "./rules.js";

/** What a stream says of itself in front of its sections. */
export interface Configuration {
  /** Machine type: `pc-i440fx-7.2`, `pc-q35-10.0`, `virt-7.2`. */
  readonly machine?: string;
  readonly capabilities: readonly string[];
  readonly pageSize?: number;
  readonly uuid?: string;
}

const LONGEST_MACHINE = 256;
const MOST_CAPABILITIES = 256;

/** Reads what follows the CONFIGURATION byte. @param described the same part of the description, where known. */
export async function readConfiguration(
  frame: Frame,
  described: StructDescription | undefined,
): Promise<Configuration> {
  const at = frame.position;
  const length = await frame.u32("the configuration");
  if (length === 0 || length > LONGEST_MACHINE)
    frame.fatal(QEMU_MIGRATION_RULES.configuration, at, `a machine name of ${length} bytes`);
  const machine = latin1(await frame.bytes(length, "the machine name"));
  if (!isName(machine))
    frame.fatal(QEMU_MIGRATION_RULES.configuration, at, `a machine name of ${JSON.stringify(machine)}`);
  const found: { machine: string; capabilities: string[]; pageSize?: number; uuid?: string } = {
    machine,
    capabilities: [],
  };
  for (;;) {
    const ready = frame.reader.need(1);
    if ((ready !== true && !(await ready)) || frame.reader.peek(1)[0] !== SECTION.subsection) return found;
    const start = frame.position;
    frame.reader.take(1);
    const name = await frame.name("a part of the configuration");
    await frame.u32("the configuration");
    switch (name) {
      case "configuration/capabilities":
        found.capabilities = await readCapabilities(frame);
        break;
      case "configuration/target-page-bits": {
        const bits = await frame.u32("the configuration");
        if (bits < 10 || bits > 24)
          frame.fatal(QEMU_MIGRATION_RULES.configuration, start, `pages of 2^${bits} bytes`);
        found.pageSize = 2 ** bits;
        break;
      }
      case "configuration/uuid":
        found.uuid = uuidText(await frame.bytes(16, "the configuration"));
        break;
      default: {
        const size = described?.subsections.find((subsection) => subsection.name === name)?.size;
        if (size === undefined)
          return frame.fatal(
            QEMU_MIGRATION_RULES.configuration,
            start,
            `'${name}' is not known and not in the description`,
          );
        await frame.skip(size, "the configuration");
      }
    }
  }
}

async function readCapabilities(frame: Frame): Promise<string[]> {
  const at = frame.position;
  const count = await frame.u32("the capabilities");
  if (count > MOST_CAPABILITIES) frame.fatal(QEMU_MIGRATION_RULES.configuration, at, `${count} capabilities`);
  const names: string[] = [];
  for (let i = 0; i < count; i += 1) names.push(await frame.name("a capability"));
  return names;
}

function uuidText(bytes: Uint8Array): string {
  const digits = hexText(bytes);
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
