/** The system that a guest ran, in a few words, JSON-able: for a first look at an input. Dates in ISO 8601, sizes in bytes. */
export interface SystemSummary {
  readonly release?: string;
  /** `Linux version …`, from its own variable. */
  readonly banner?: string;
  readonly hostName?: string;
  readonly commandLine?: string;
  /** When it booted and when it was saved, by its own clock. */
  readonly bootTime?: string;
  readonly savedAt?: string;
  /** Seconds. */
  readonly uptime?: number;
  /** Averages over 1, 5 and 15 minutes. */
  readonly load?: readonly number[];
  readonly cpus: number;
  readonly memory?: { readonly total: number; readonly free: number };
  /** Letters; empty for a kernel that isn't tainted. */
  readonly taint?: string;
  /** The message of a panic. */
  readonly panic?: string;
  /** Tasks that were uninterruptible for more than 120 s. */
  readonly hungTasks?: number;
  /** What can't be had, and why. */
  readonly missing?: Readonly<Record<string, string>>;
}
