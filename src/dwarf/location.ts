import * as dw from "./constants.js";
import type { Die } from "./unit.js";
import { Cursor, DwarfSection } from "./section.js";

/**
 * The link-time address of a variable whose location is one operation that gives an address. Undefined for
 * registers, frames, thread-local and optimised ones.
 */
export function plainAddress(die: Die): bigint | undefined {
  const expression = die.block(dw.DW_AT_location);
  if (expression === undefined || expression.length === 0) return undefined;
  const { section, addressSize } = die.unit;
  const own = new DwarfSection(section.file, section.name, expression, section.littleEndian, undefined);
  const cursor = new Cursor(own, 1);
  const operation = expression[0];
  if (operation === dw.DW_OP_addr) {
    return expression.length === 1 + addressSize ? cursor.address(addressSize) : undefined;
  }
  if (operation !== dw.DW_OP_addrx && operation !== dw.DW_OP_GNU_addr_index) return undefined;
  const index = cursor.uleb();
  return cursor.pos === expression.length ? die.unit.indexedAddress(index, die.offset) : undefined;
}
