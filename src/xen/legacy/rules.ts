import { type RuleDeclaration, rules, type Severity } from "../../findings/rule.js";

const SPEC = "legacy Xen migration stream";

function rule(code: string, severity: Severity, clause: string, explanation: string): RuleDeclaration {
  return { code: `legacy/${code}`, severity, spec: `${SPEC}, ${clause}`, explanation };
}

/** Everything that can be wrong with a legacy stream. */
export const LEGACY_RULES = rules({
  truncated: rule(
    "truncated",
    "error",
    "every structure",
    "The stream ends inside a structure that it announced. Before the first complete checkpoint there is nothing to restore.",
  ),
  notLegacy: rule(
    "not-legacy",
    "error",
    "header",
    "The first bytes are not those of a legacy stream. A stream of version 2 or 3 needs no conversion.",
  ),
  xlHeader: rule(
    "xl-header",
    "error",
    "xl header",
    "The header of the xl save file has another byte order, flags that are unknown or say that what follows is not a legacy stream, or optional data that do not fit.",
  ),
  xlConfig: rule(
    "xl-config",
    "warning",
    "xl header",
    "The guest's configuration in the header of the xl save file doesn't fit there or is not the JSON that the header calls it. It is passed on as it is; give 'xl restore' a configuration file of its own.",
  ),
  p2mSize: rule("p2m-size", "error", "header", "p2m_size is 1 to 0x0fffffff in every genuine stream."),
  extendedInfo: rule(
    "extended-info",
    "error",
    "header, extended info",
    "The extended info of a PV stream names the guest's word size and the vCPU state that follows; without it, or with sizes that do not fit, the stream can't be read.",
  ),
  extendedBlock: rule(
    "extended-info/unknown-block",
    "warning",
    "header, extended info",
    "A block that no known sender writes. Receivers pass over it.",
  ),
  p2mFrame: rule(
    "p2m-frame",
    "error",
    "header, p2m frame list",
    "A frame of the p2m table must be a normal page of the guest, with contents in the stream.",
  ),
  unknownChunk: rule(
    "unknown-chunk",
    "error",
    "body",
    "No receiver knows this chunk id. Its length is unknown, so reading ends here.",
  ),
  batchSize: rule("pages/batch-size", "error", "page batches", "A batch holds 1 to 1024 entries."),
  reservedType: rule(
    "pages/reserved-type",
    "error",
    "page batches",
    "Page types 5 to 8 are not used: whether contents follow is unknown.",
  ),
  pfnRange: rule("pages/pfn-range", "error", "page batches", "A pfn must be below p2m_size."),
  duplicatePfn: rule("pages/duplicate-pfn", "error", "page batches", "Within one batch a pfn occurs once."),
  pageTableInHvm: rule(
    "pages/page-table-in-hvm",
    "error",
    "page batches",
    "Only PV guests have pages of page table types.",
  ),
  repeatedChunk: rule(
    "repeated-chunk",
    "warning",
    "body",
    "The same chunk occurs twice in one body; the last one counts.",
  ),
  vcpuInfo: rule("vcpu-info/range", "error", "chunk -2", "The highest vCPU id is 0 to 4095."),
  noVcpuOnline: rule("vcpu-info/none", "error", "chunk -2", "A PV guest has at least one vCPU online."),
  vcpuInfoMissing: rule(
    "vcpu-info/missing",
    "warning",
    "chunk -2",
    "Without a vCPU map a receiver takes vCPU 0 alone and marks it online.",
  ),
  parameterInPv: rule("parameter/in-pv", "error", "chunks -3 to -21", "HVM parameters belong to HVM guests."),
  parameterPad: rule(
    "parameter/pad",
    "warning",
    "chunks -3 to -21",
    "The padding of a parameter chunk is written as zero; its value is ignored.",
  ),
  parameterZero: rule(
    "parameter/zero",
    "warning",
    "chunks -3 to -21",
    "Senders leave out parameters of value 0 and receivers ignore them.",
  ),
  ioreqPair: rule(
    "parameter/ioreq-server",
    "warning",
    "chunks -19 and -20",
    "The I/O request server's pfn and page count come together; one alone is ignored.",
  ),
  acpiLocation: rule("parameter/acpi-ioports", "warning", "chunk -10", "Receivers act on value 1 only."),
  compressedEarly: rule(
    "compressed/not-enabled",
    "error",
    "chunk -12",
    "Compressed data may only come in the checkpoints after the one that enabled them.",
  ),
  compressedPage: rule(
    "compressed/page",
    "error",
    "chunk -12",
    "A page's runs must cover its 1024 words exactly and end within their chunk; page tables are sent whole.",
  ),
  compressedCount: rule(
    "compressed/count",
    "error",
    "chunk -12",
    "The pages of the compressed chunks belong one to one to the entries of the batches of the same body.",
  ),
  compressedSize: rule(
    "compressed/size",
    "error",
    "chunk -12",
    "A compressed chunk is longer than any sender's buffer, or empty.",
  ),
  senderDefect: rule(
    "compressed/sender-defect",
    "warning",
    "chunk -12",
    "The sender coded a page as a difference against contents it never sent (a defect of its page cache). The page is wrong in the restored guest; it can't be repaired from the stream.",
  ),
  tmemFrame: rule("tmem/structure", "error", "chunk -5", "The marks of a tmem chunk are not in their place."),
  tmemPages: rule(
    "tmem/pages",
    "error",
    "chunk -5",
    "The stream holds pages of persistent tmem pools: guest data that the new format has no place for. The rest converts only where their loss is allowed.",
  ),
  tmemEmpty: rule(
    "tmem/announced",
    "warning",
    "chunk -5",
    "tmem pools are announced. Hypervisors of today have no tmem; the guest finds its pools gone.",
  ),
  toolstack: rule(
    "toolstack/structure",
    "error",
    "chunk -18",
    "The toolstack chunk has another version, or its entries and its length do not fit together.",
  ),
  toolstackInPv: rule(
    "toolstack/in-pv",
    "warning",
    "chunk -18",
    "The toolstack chunk of a PV guest has no entries; those found are left out.",
  ),
  verifyDiffers: rule(
    "verify-pass/differs",
    "warning",
    "chunk -1",
    "A page sent again for comparison differs from its last copy: the guest ran on, or the sender lost a change. The earlier copy counts.",
  ),
  hvmContext: rule(
    "hvm-context/length",
    "error",
    "HVM tail",
    "The HVM context is not empty and fits in a record of the new format.",
  ),
  qemuSignature: rule(
    "qemu/signature",
    "error",
    "QEMU record",
    "A QEMU record of a known signature must follow the tail of an HVM guest.",
  ),
  qemuMissing: rule(
    "qemu/missing",
    "error",
    "QEMU record",
    "An HVM stream of libxl ends with a QEMU record. A stream without it converts only where the record is skipped on purpose.",
  ),
  qemuData: rule(
    "qemu/data",
    "error",
    "QEMU record",
    "The QEMU data are longer than a record of the new format may be, or do not start with QEVM.",
  ),
  unmappedCount: rule(
    "unmapped/count",
    "error",
    "PV tail",
    "A guest can't have more unmapped pfns than pfns.",
  ),
  unmappedRange: rule("unmapped/range", "error", "PV tail", "An unmapped pfn must be below p2m_size."),
  xsaveSize: rule(
    "vcpu/xsave-size",
    "error",
    "PV tail",
    "The size of a vCPU's XSAVE area must be the one announced by xcnt.",
  ),
  incompleteCheckpoint: rule(
    "checkpoint/incomplete",
    "warning",
    "checkpointed streams",
    "What comes after the last complete checkpoint is incomplete or unreadable. It is dropped whole: the guest goes on from that checkpoint.",
  ),
  trailing: rule("trailing-bytes", "warning", "end of the stream", "Bytes follow the end of the stream."),
  contradiction: rule(
    "contradiction",
    "error",
    "header",
    "What the caller states of the stream must be what the stream shows.",
  ),
  widthGuess: rule(
    "width-guess",
    "warning",
    "header",
    "The toolstack's word size was given as another than the stream shows. The stream is right: a caller can only guess it.",
  ),
  inputChanged: rule(
    "input-changed",
    "error",
    "any input",
    "Contents that were there when the stream was read are not there any more: the file was cut or written to meanwhile. Convert it again once nothing writes to it.",
  ),
  verifyNotCompared: rule(
    "verify-pass/not-compared",
    "note",
    "chunk -1",
    "The pages of the verify pass were dropped without comparing them: the stream was converted while it was read.",
  ),
});
