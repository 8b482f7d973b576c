/** An option of QEMU's command line and what was given to it. */
export interface QemuOption {
  /** Without its dashes. */
  readonly name: string;
  readonly value: string;
}

/** Values by key; of a key given twice the last counts. */
export type Settings = ReadonlyMap<string, string>;

/** Options without a value, of all versions (QEMU, qemu-options.hx); every other one is followed by its value. */
const ALONE: ReadonlySet<string> = new Set(
  `h help version S s snapshot nographic nodefaults no-user-config nouserconfig daemonize no-reboot no-shutdown
  no-acpi no-hpet no-kvm no-kvm-irqchip no-kvm-pit no-kvm-pit-reinjection no-fd-bootchk no-quit no-frame sdl curses
  portrait full-screen alt-grab ctrl-grab win2k-hack rtc-td-hack localtime enable-kvm enable-hax singlestep mem-prealloc
  enable-fips old-param semihosting preconfig only-migratable perfmap jitdump tdf usb xen-attach xen-create
  xen-domid-restrict enable-sync-profile async-teardown`
    .split(/\s+/)
    .filter((name) => name !== ""),
);

/** The options among a program's arguments, in their order; the disk image, which has no option, is left out. */
export function optionsOf(args: readonly string[]): readonly QemuOption[] {
  const options: QemuOption[] = [];
  for (let i = 1; i < args.length; i += 1) {
    const name = /^--?(.+)$/.exec(args[i] ?? "")?.[1];
    if (name === undefined) continue;
    if (ALONE.has(name)) options.push({ name, value: "" });
    else {
      i += 1;
      options.push({ name, value: args[i] ?? "" });
    }
  }
  return options;
}

/**
 * What an option's value sets: `pc,accel=tcg`, or JSON as libvirt writes it. A value without a key is that of
 * `implied` in front, else `on`; two commas stand for one.
 */
export function settingsOf(value: string, implied: string): Settings {
  if (value.startsWith("{")) return jsonSettings(value);
  const settings = new Map<string, string>();
  const parts = value.replaceAll(",,", "\0").split(",");
  for (const [i, part] of parts.entries()) {
    const text = part.replaceAll("\0", ",");
    const equals = text.indexOf("=");
    if (equals > 0) settings.set(text.slice(0, equals), text.slice(equals + 1));
    else if (i === 0) settings.set(implied, text);
    else if (text !== "") settings.set(text, "on");
  }
  return settings;
}

function jsonSettings(text: string): Settings {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // not of a QEMU that started
    return new Map();
  }
  const settings = new Map<string, string>();
  for (const [key, value] of Object.entries(parsed ?? {})) {
    if (typeof value === "boolean") settings.set(key, value ? "on" : "off");
    else if (typeof value === "string" || typeof value === "number") settings.set(key, String(value));
  }
  return settings;
}

/** Whether a switch is on; undefined where it isn't given. */
export function isOn(settings: Settings, key: string): boolean | undefined {
  const value = settings.get(key);
  return value === undefined ? undefined : /^(on|yes|true|y)$/i.test(value);
}

const UNITS = "bkmgtpe";

/** Bytes of a size (`4G`, `1.5g`, `0x1000`); a number alone counts `unit` bytes. Undefined for what is no size. */
export function sizeOf(text: string, unit = 1): number | undefined {
  const parts = /^\s*(0x[0-9a-f]+|\d+(?:\.\d+)?)\s*([bkmgtpe]?)(?:i?b)?$/i.exec(text);
  if (parts === null) return undefined;
  const [, digits = "", letter = ""] = parts;
  const bytes = Number(digits) * (letter === "" ? unit : 1024 ** UNITS.indexOf(letter.toLowerCase()));
  return Number.isSafeInteger(Math.round(bytes)) ? Math.round(bytes) : undefined;
}
