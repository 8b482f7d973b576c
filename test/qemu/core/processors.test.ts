import * as fs from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { PRSTATUS_ARM, PRSTATUS_PPC64, PRSTATUS_S390X } from "../../../src/elf/prstatus.js";
import { AARCH64, AARCH64_BE, ARM } from "../../../src/guest/arch/arm.js";
import type { GuestImage } from "../../../src/guest/image.js";
import { PPC64, PPC64_LE } from "../../../src/guest/arch/ppc64.js";
import { S390X } from "../../../src/guest/arch/s390x.js";
import type { OtherRegisters } from "../../../src/guest/vcpu.js";
import { LiveProcess } from "../../../src/io/node/process-memory.js";
import { guestOfQemu } from "../../../src/qemu/core/guest.js";
import { hasProgram, scratch, skipUnless } from "../../shared.js";
import { compileMimic, openMimic, runMimic } from "./mimic.js";

const noGcc = skipUnless(hasProgram("gcc") && fs.existsSync("/proc/self/mem"), "gcc and /proc");

describe.skipIf(noGcc)("processors of other guests than x86", () => {
  const { folder, cleanup } = scratch();
  afterAll(cleanup);

  async function guestOf(...defines: readonly string[]): Promise<GuestImage> {
    const exe = compileMimic(folder, 702, ...defines);
    const { child, pid } = await runMimic(exe);
    const live = new LiveProcess(pid);
    try {
      const guest = await guestOfQemu(await openMimic({ memory: live, auxv: live.auxv }, exe), "test");
      // its note is in the guest's byte order
      expect(guest.facts.vmcoreInfo?.text).toContain("OSRELEASE=6.1.0-mimic");
      expect(guest.vcpus.map(({ id }) => id)).toEqual([0, 1]);
      return guest;
    } finally {
      live.close();
      child.kill("SIGKILL");
    }
  }

  /** The second processor's registers, of an architecture without a record of its own. */
  function other(guest: GuestImage): OtherRegisters {
    const registers = guest.vcpus[1]?.registers;
    if (registers?.kind !== "other") throw new Error(`registers are ${registers?.kind ?? "not there"}`);
    return registers;
  }

  it("aarch64: general registers, flags put together, system registers of EL1", async () => {
    const guest = await guestOf("GUEST_ARM");
    expect(guest.arch).toEqual(AARCH64);
    const registers = guest.vcpus[1]?.registers;
    if (registers?.kind !== "aarch64") throw new Error("no aarch64 registers");
    expect(registers.x).toEqual(Array.from({ length: 31 }, (_, i) => 0x2_0000_0000n + BigInt(i)));
    expect(registers.sp).toBe(0x2_0000_001fn);
    expect(registers.pc).toBe(0xffff_8000_0800_0000n);
    // N, Z, C, V, interrupts masked, EL1 with its own stack
    expect(registers.pstate).toBe(0xf000_03c5n);
    // TCR is a structure there: left out
    expect(registers.system).toEqual({ sctlr_el1: 0n, ttbr1_el1: 0x4100_0000n });
  });

  it("aarch64 in big endian is told by SCTLR_EL1.EE", async () => {
    expect((await guestOf("GUEST_ARM", "BIG_ENDIAN_GUEST")).arch).toEqual(AARCH64_BE);
  });

  it("arm: a processor that was never in a 64-bit state", async () => {
    const guest = await guestOf("GUEST_ARM", "NEVER_WIDE");
    expect(guest.arch).toEqual(ARM);
    const { prstatus, pc, sp } = other(guest);
    expect([pc, sp]).toEqual([0x200fn, 0x200dn]);
    const decoded = PRSTATUS_ARM.decode(prstatus, "little");
    expect(decoded.pr_pid).toBe(2);
    expect(decoded.r).toEqual(Array.from({ length: 16 }, (_, i) => 0x2000 + i));
    // NZCVQ, IT[1:0], GE, IT[7:2], masks, T, supervisor mode
    expect(decoded.cpsr).toBe(0xf800_0000 + 0x0400_0000 + 0x0005_0000 + 0xa400 + 0x1c0 + 0x20 + 0x13);
  });

  it("a 64-bit guest that runs a 32-bit program stays aarch64", async () => {
    expect((await guestOf("GUEST_ARM", "NARROW_NOW")).arch).toEqual(AARCH64);
  });

  it.each([
    ["big", PPC64, ["BIG_ENDIAN_GUEST"]],
    ["little", PPC64_LE, []],
  ] as const)("ppc64, %s endian by LPCR", async (order, arch, defines) => {
    const guest = await guestOf("GUEST_PPC", ...defines);
    expect(guest.arch).toEqual(arch);
    const { prstatus, pc, sp, named } = other(guest);
    const decoded = PRSTATUS_PPC64.decode(prstatus, order);
    expect(decoded.r).toEqual(Array.from({ length: 32 }, (_, i) => 0xc000_0000_0000_2000n + BigInt(i)));
    const fields = { nip: 0xc000_0000_0000_1234n, msr: 0x8000_0000_0000_1033n, lr: 10n, ctr: 11n };
    // fields of the condition register follow each other; SO and CA lie in XER
    const whole = { ...fields, cr: 0x0123_4567n, xer: 0xa000_007fn, dar: 0xdead_beefn, dsisr: 0n };
    expect(decoded).toMatchObject({ ...whole, pr_pid: 2 });
    expect(named).toMatchObject({ ...whole, r31: 0xc000_0000_0000_201fn });
    expect([pc, sp]).toEqual([fields.nip, 0xc000_0000_0000_2001n]);
  });

  it("s390x", async () => {
    const guest = await guestOf("GUEST_S390", "BIG_ENDIAN_GUEST");
    expect(guest.arch).toEqual(S390X);
    const { prstatus, pc, sp } = other(guest);
    expect(PRSTATUS_S390X.decode(prstatus, "big")).toMatchObject({
      pr_pid: 2,
      psw_mask: 0x0705_c001_8000_0000n,
      psw_addr: 0x10_0000n,
      r: Array.from({ length: 16 }, (_, i) => 0x2000n + BigInt(i)),
      a: Array.from({ length: 16 }, (_, i) => i),
    });
    expect([pc, sp]).toEqual([0x10_0000n, 0x200fn]);
  });
});
