/** Amounts of memory as people write them. */
import { UsageError } from "../errors.ts";

const UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, kb: 1e3, mb: 1e6, gb: 1e9, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30 };

/**
 * Bytes of an amount: a number, or a text such as "800MB", "1.5 GiB" or "1000000000".
 *
 * Errors: UsageError for what is none; `name` says what it was given for.
 */
export function memorySizeBytes(size: number | string, name: string): number {
  const [, digits = "", unit = ""] = /^\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*)\s*$/i.exec(String(size)) ?? [];
  const factor = Object.hasOwn(UNITS, unit.toLowerCase()) ? UNITS[unit.toLowerCase()] : undefined;
  const bytes = digits === "" || factor === undefined ? Number.NaN : Math.floor(Number(digits) * factor);
  if (Number.isSafeInteger(bytes) && bytes > 0) return bytes;
  throw new UsageError(`${name} expects an amount of memory, got ${JSON.stringify(size)}`, {
    hint: "a number of bytes, or with a unit: KB, MB, GB (1000), KiB, MiB, GiB (1024)",
  });
}
