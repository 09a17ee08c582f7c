/**
 * Turns the words after a flag into values, or says in one sentence what the flag expects.
 *
 * Numbers are plain decimals: "0x10", "1e999", "ten" and "" are refused, so that a typing error is never a surprising picture.
 */
import { type BenchSize, type ComputeDType, memorySizeBytes, nearestWord, UsageError } from "../index.ts";

const DTYPES: readonly ComputeDType[] = ["float32", "float16", "bfloat16"];

/** Reads the value of a flag; `previous` is what a flag that may be repeated has read before. */
export type ValueReader<T> = (text: string, previous?: T) => T;

/** A whole number within bounds. */
export function wholeNumber(flag: string, min: number, max: number): ValueReader<number> {
  return (text) => {
    const value = /^[+-]?\d{1,30}$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new UsageError(`${flag} expects a whole number from ${min} to ${max}, got ${shown(text)}`);
  };
}

/** A number with or without a fraction, within bounds. */
export function decimalNumber(flag: string, min: number, max: number): ValueReader<number> {
  return (text) => {
    const value = /^[+-]?(\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    throw new UsageError(`${flag} expects a number from ${min} to ${max}, got ${shown(text)}`);
  };
}

/** A seed as torch takes it: any 64-bit integer, signed or not. */
export function seedNumber(flag: string): ValueReader<number | bigint> {
  return (text) => {
    const value = /^[+-]?\d{1,30}$/.test(text) ? BigInt(text.replace(/^\+/, "")) : undefined;
    if (value !== undefined && value >= -(2n ** 63n) && value < 2n ** 64n) {
      const near = Number(value);
      return Number.isSafeInteger(near) ? near : value;
    }
    throw new UsageError(`${flag} expects a whole number from -2^63 to 2^64 - 1, got ${shown(text)}`);
  };
}

/** One of the dtypes that a pipeline can be loaded in. */
export function dtypeWord(flag: string): ValueReader<ComputeDType> {
  return oneOf(flag, DTYPES);
}

/** One of a few words. */
export function oneOf<const W extends string>(flag: string, words: readonly W[]): ValueReader<W> {
  return (text) => {
    const found = words.find((word) => word === text);
    if (found !== undefined) return found;
    const near = nearestWord(text, words);
    throw new UsageError(`${flag} expects ${words.slice(0, -1).join(", ")} or ${words.at(-1)}, got ${shown(text)}`, {
      hint: near === undefined ? undefined : `did you mean ${near}?`,
    });
  };
}

/** An amount of memory, in bytes. */
export function memorySize(flag: string): ValueReader<number> {
  return (text) => memorySizeBytes(text, flag);
}

/** A text that says something. */
export function word(flag: string, what: string): ValueReader<string> {
  return (text) => {
    if (text.trim() !== "") return text;
    throw new UsageError(`${flag} expects ${what}, got an empty text`);
  };
}

/** The values of a flag that may be repeated. */
export function collected(flag: string, what = "a pattern of layer names"): ValueReader<readonly string[]> {
  return repeated(word(flag, what));
}

/** Whole numbers with commas between them: "1,4". */
export function numberList(flag: string, min: number, max: number): ValueReader<readonly number[]> {
  return listed(wholeNumber(flag, min, max));
}

/** Sizes in pixels with commas between them, "512,1024x768": one number for a square, or width x height. */
export function sizeList(flag: string): ValueReader<readonly BenchSize[]> {
  const read = wholeNumber(flag, 1, 65_536);
  return listed((item) => {
    const sides = item.split("x");
    if (sides.length > 2) throw new UsageError(`${flag} expects sizes such as 512 or 1024x768, got ${shown(item)}`);
    const [width = 0, height = width] = sides.map((side) => read(side.trim()));
    return { height, width };
  });
}

function listed<T>(read: (item: string) => T): ValueReader<readonly T[]> {
  return (text) => text.split(",").map((item) => read(item.trim()));
}

/** The values of a flag that may be repeated, each of them read. */
export function repeated<T>(read: ValueReader<T>): ValueReader<readonly T[]> {
  return (text, previous = []) => [...previous, read(text)];
}

function shown(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text);
}
