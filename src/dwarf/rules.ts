import { rules } from "../findings/rule.js";

const SPEC = "DWARF Version 5";

/** What can be wrong with debugging information. */
export const DWARF_RULES = rules({
  none: {
    code: "dwarf/none",
    severity: "error",
    spec: SPEC,
    explanation:
      "The file must have debugging information (.debug_info). A stripped program has none: name its separate debug file.",
  },
  end: {
    code: "dwarf/end",
    severity: "error",
    spec: SPEC,
    explanation: "A value must be within its section.",
  },
  section: {
    code: "dwarf/section",
    severity: "error",
    spec: SPEC,
    explanation: "A DWARF section that others refer to must be present and readable.",
  },
  relocatable: {
    code: "dwarf/relocatable",
    severity: "error",
    spec: SPEC,
    explanation: "Object files (ET_REL) need relocation and are not read: link them first.",
  },
  abbrev: {
    code: "dwarf/abbrev",
    severity: "error",
    spec: SPEC,
    explanation:
      "Abbreviation tables must be in .debug_abbrev and have plausible codes, tags and attributes.",
  },
  unit: {
    code: "dwarf/unit",
    severity: "error",
    spec: SPEC,
    explanation: "A unit header must be of a known type and be within .debug_info.",
  },
  version: {
    code: "dwarf/version",
    severity: "error",
    spec: SPEC,
    explanation: "Units of DWARF versions 2 to 5 are read.",
  },
  length: {
    code: "dwarf/length",
    severity: "error",
    spec: SPEC,
    explanation: "An initial length must be a 32-bit or a 64-bit one.",
  },
  entry: {
    code: "dwarf/entry",
    severity: "error",
    spec: SPEC,
    explanation: "A debugging information entry must have a code of its unit's abbreviation table.",
  },
  form: {
    code: "dwarf/form",
    severity: "error",
    spec: SPEC,
    explanation: "An attribute must have a known form that fits what it is used for.",
  },
  string: {
    code: "dwarf/string",
    severity: "error",
    spec: SPEC,
    explanation: "A string must be in its section and end with a NUL.",
  },
  address: {
    code: "dwarf/address",
    severity: "error",
    spec: SPEC,
    explanation: "An address index must be in .debug_addr.",
  },
  overflow: {
    code: "dwarf/overflow",
    severity: "error",
    spec: SPEC,
    explanation: "A number must fit into 53 bits where it is an offset, size or count, and LEB128 must end.",
  },
  reference: {
    code: "dwarf/reference",
    severity: "error",
    spec: SPEC,
    explanation: "A reference must lead to an entry.",
  },
  referenceLoop: {
    code: "dwarf/reference-loop",
    severity: "error",
    spec: SPEC,
    explanation:
      "References from type to type, or from scope to scope, must not lead back to where they began.",
  },
  index: {
    code: "dwarf/index",
    severity: "error",
    spec: SPEC,
    explanation: ".debug_names and .gdb_index must agree with the sections they index.",
  },
  package: {
    code: "dwarf/package",
    severity: "error",
    spec: SPEC,
    explanation: "The unit index of a package (.dwp) must have plausible counts and sections.",
  },
  split: {
    code: "dwarf/split",
    severity: "error",
    spec: SPEC,
    explanation: "A split unit (.dwo, .dwp) must be of the same build as the program.",
  },
  splitMissing: {
    code: "dwarf/split-missing",
    severity: "error",
    spec: SPEC,
    explanation: "Part of the debugging information is in a .dwo or .dwp file that was not found.",
  },
  alternateMissing: {
    code: "dwarf/alternate-missing",
    severity: "error",
    spec: SPEC,
    explanation:
      "Part of the debugging information is in the file that .gnu_debugaltlink names (dwz), which was not found.",
  },
  ambiguousType: {
    code: "dwarf/ambiguous-type",
    severity: "error",
    spec: SPEC,
    explanation: "A type of this name is defined more than once, with different contents.",
  },
  ambiguousVariable: {
    code: "dwarf/ambiguous-variable",
    severity: "error",
    spec: SPEC,
    explanation: "A variable of this name is defined more than once.",
  },
  incompleteType: {
    code: "dwarf/incomplete-type",
    severity: "error",
    spec: SPEC,
    explanation: "A type that is needed is only declared: no unit defines it.",
  },
  memberLocation: {
    code: "dwarf/member-location",
    severity: "error",
    spec: SPEC,
    explanation: "A member must be at a constant offset in its structure.",
  },
  bitField: {
    code: "dwarf/bit-field",
    severity: "error",
    spec: SPEC,
    explanation: "A bit-field must have a position and a size within its structure.",
  },
  size: {
    code: "dwarf/size",
    severity: "error",
    spec: SPEC,
    explanation: "A type whose values are read must have a size.",
  },
});
