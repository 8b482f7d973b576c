import { rules } from "../../findings/rule.js";

const SPEC = "Xen dump-core format (docs/misc/dump-core-format.txt)";

/** What can be wrong with a Xen core. */
export const XEN_CORE_RULES = rules({
  sections: {
    code: "vmcore/xen-core/sections",
    severity: "error",
    spec: SPEC,
    explanation:
      "A section that the format needs (.note.Xen, .xen_pages, .xen_p2m or .xen_pfn) is missing or damaged.",
  },
  header: {
    code: "vmcore/xen-core/header",
    severity: "error",
    spec: SPEC,
    explanation: "The note with the kind of guest, vCPUs, pages and page size is missing or impossible.",
  },
  count: {
    code: "vmcore/xen-core/count",
    severity: "error",
    spec: SPEC,
    explanation: "The sections hold another number of pages than the header note or one another.",
  },
  truncated: {
    code: "vmcore/xen-core/truncated",
    severity: "error",
    spec: SPEC,
    explanation:
      "The file ends before the contents of its pages or the table of their frames do: those pages are absent. Xen writes that table last: without it no page can be placed.",
  },
  table: {
    code: "vmcore/xen-core/table",
    severity: "error",
    spec: SPEC,
    explanation:
      "Frame numbers must ascend, as Xen writes them. Those that don't are damaged: reading what is intact leaves their pages out, or makes them anew where their neighbours leave one number only.",
  },
  shifted: {
    code: "vmcore/xen-core/shifted",
    severity: "error",
    spec: SPEC,
    explanation:
      "The table of frames comes right before the names of sections. Where that is another place than the section headers say, bytes are missing before it or were inserted: contents of pages after that place are shifted, and nothing says which.",
  },
  frame: {
    code: "vmcore/xen-core/frame",
    severity: "warning",
    spec: SPEC,
    explanation: "A page belongs to no frame, or to the frame of another page (the later one holds).",
  },
});
