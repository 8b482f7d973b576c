import type { Architecture } from "../guest/arch/architecture.js";
import type { Aarch64Registers, OtherRegisters, Vcpu, X86Registers } from "../guest/vcpu.js";

/** The descriptor of one vCPU's NT_PRSTATUS; undefined when its registers are not known. */
export function encodePrstatus(vcpu: Vcpu, arch: Architecture): Uint8Array | undefined {
  const { registers } = vcpu;
  if (registers === undefined) return undefined;
  if (registers.kind === "other") return registers.prstatus;
  // a dump read by us goes out as it came in
  const kept = vcpu.raw?.prstatus;
  if (kept !== undefined && kept.length === arch.prstatus.layout.size) return kept;
  return arch.prstatus.encode?.(vcpu, arch.order);
}

/** Registers of an NT_PRSTATUS descriptor. Selectors alone are no segments: they stay in the raw note. */
export function decodePrstatus(
  descriptor: Uint8Array,
  arch: Architecture,
): X86Registers | Aarch64Registers | OtherRegisters {
  const codec = [arch.prstatus, ...(arch.otherNotes ?? [])]
    .sort((a, b) => b.layout.size - a.layout.size)
    .find(({ layout }) => descriptor.length >= layout.size);
  if (codec === undefined) return { kind: "other", prstatus: descriptor, named: {} };
  return codec.decode(descriptor, arch.order);
}
