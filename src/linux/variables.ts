/**
 * Types of the kernel's global variables: BTF describes only per-CPU ones. A trailing `*` makes a pointer, `[]` an
 * array; a name alone is a structure. Used only where this kernel has the type.
 */
export const VARIABLE_TYPES: Readonly<Record<string, string>> = {
  init_task: "task_struct",
  init_mm: "mm_struct",
  init_pid_ns: "pid_namespace",
  init_uts_ns: "uts_namespace",
  init_net: "net",
  init_cred: "cred",
  init_nsproxy: "nsproxy",
  init_fs: "fs_struct",
  init_files: "files_struct",
  modules: "list_head",
  btf_modules: "list_head",
  super_blocks: "list_head",
  prb: "printk_ringbuffer *",
  runqueues: "rq",
  tk_core: "tk_core",
  kernel_cpustat: "kernel_cpustat",
};
