import { type RuleDeclaration, rules, type Severity } from "../../findings/rule.js";

const rule = (code: string, severity: Severity, explanation: string): RuleDeclaration => ({
  code: `libvirt-save/${code}`,
  severity,
  spec: "libvirt save file of the QEMU driver: header",
  explanation,
});

/** What can be wrong with libvirt's envelope around a QEMU stream. */
export const LIBVIRT_SAVE_RULES = rules({
  truncated: rule("truncated", "error", "The file ends inside the header or the XML after it."),
  version: rule("version", "error", "A version that libvirt doesn't know; 1 and 2 exist."),
  part: rule(
    "unfinished",
    "error",
    "The save was not finished: libvirt marks the file as complete only at its end. What is there can be taken.",
  ),
  compression: rule("compression", "error", "A compression code that libvirt doesn't have."),
  wasRunning: rule("was-running", "warning", "The mark of a running guest is neither 0 nor 1."),
  unused: rule("unused", "warning", "Bytes of the header that must be zero are not."),
  cookie: rule(
    "cookie",
    "error",
    "The cookie's offset is outside the header's data, or there is none although a cookie follows the XML.",
  ),
  xml: rule(
    "xml",
    "error",
    "The domain's XML is not terminated or can't be read. The stream after it is not affected.",
  ),
  head: rule(
    "damaged-head",
    "error",
    "Bytes of the header, of the XML or of the room after it are not what they can be. What they said is taken from the rest of the file, as far as that shows it.",
  ),
  memory: rule("memory", "warning", "The XML and the stream differ in the guest's memory or machine."),
  data: rule(
    "compressed-data",
    "error",
    "The compressed stream is damaged or ends early. What was unpacked before holds.",
  ),
});
