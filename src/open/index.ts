export { allRules, findRule, layoutSections, ruleSections } from "./catalogue.js";
export { type Detected, detectFormat, findFormat } from "./detect.js";
export { FORMATS } from "./formats.js";
export type { Inspection } from "./inspection.js";
export { inspect, openGuest, type Verification, verify } from "./open.js";
export { OUTPUTS } from "./outputs.js";
