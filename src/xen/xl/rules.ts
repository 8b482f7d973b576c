import { rules } from "../../findings/rule.js";

const HEADER = "xl save file: header";
const OPTIONAL = "xl save file: optional data";

/** What can be wrong with the header of an xl save file. */
export const XL_RULES = rules({
  magic: {
    code: "xl/header/magic",
    severity: "error",
    spec: HEADER,
    explanation:
      "An xl save file starts with 32 fixed bytes. They hold a newline, a carriage return and a zero, so that a transfer in text mode shows here: copy the file again in binary mode.",
  },
  byteOrder: {
    code: "xl/header/byte-order",
    severity: "error",
    spec: HEADER,
    explanation:
      "The field byteorder holds 0x01020304 in the order of the machine that saved. Read either way it holds something else, so no other field of the header can be trusted.",
  },
  unknownFlags: {
    code: "xl/header/unknown-flags",
    severity: "error",
    spec: HEADER,
    explanation:
      "A bit of mandatory_flags has no meaning. A reader that doesn't know a mandatory flag must refuse the file.",
  },
  optionalFlags: {
    code: "xl/header/optional-flags",
    severity: "note",
    spec: HEADER,
    explanation: "No optional flag is defined; readers ignore them.",
  },
  legacy: {
    code: "xl/header/legacy",
    severity: "error",
    spec: HEADER,
    explanation:
      "The file holds a stream of Xen 4.5 or older, which has no records to verify. Convert it to a stream of version 3 first.",
  },
  optionalData: {
    code: "xl/optional-data/length",
    severity: "error",
    spec: OPTIONAL,
    explanation: "The configuration is announced to be longer than the optional data that contain it.",
  },
  noConfig: {
    code: "xl/optional-data/no-config",
    severity: "note",
    spec: OPTIONAL,
    explanation: "The file carries no domain configuration: 'xl restore' must be given one.",
  },
  config: {
    code: "xl/optional-data/json",
    severity: "error",
    spec: OPTIONAL,
    explanation:
      "The header says that the configuration is JSON, but it can't be parsed. xl can't restore from it; give 'xl restore' a configuration file of its own.",
  },
});
