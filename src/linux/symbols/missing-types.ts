/** A type that programs ask for and BTF lacks, because no other type refers to it. */
export interface MissingType {
  readonly name: string;
  readonly kind: "union";
  /** Symbols of the kernel's linker script whose distance is its size: the first pair that this kernel has. */
  readonly size: readonly (readonly [start: string, end: string])[];
  /** Members, all at offset 0, as C declares them. A last `[]` fills the size. */
  readonly members: readonly (readonly [name: string, declaration: string])[];
  /** Who asks for it and where the facts are from. */
  readonly reason: string;
}

/** Types that are added to debug information made from BTF. */
export const MISSING_TYPES: readonly MissingType[] = [
  {
    name: "thread_union",
    kind: "union",
    size: [
      ["__start_init_stack", "__end_init_stack"],
      ["__start_init_task", "__end_init_task"],
    ],
    members: [
      ["task", "task_struct"],
      ["stack", "long unsigned int[]"],
    ],
    reason:
      "crash takes the size of a kernel stack from it. It is the type of init_thread_union alone (Linux, include/linux/sched.h), for which the linker script keeps THREAD_SIZE bytes (include/asm-generic/vmlinux.lds.h, INIT_TASK_DATA).",
  },
];
