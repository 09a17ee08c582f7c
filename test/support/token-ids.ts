/** Expected token ids as the fixtures of reference/*tokenizer_ids.py write them. */
import { createHash } from "node:crypto";

/** Many ids as their number, both ends, and the SHA-256 of them all written with commas. */
export interface LongIds {
  readonly count: number;
  readonly first: number[];
  readonly last: number[];
  readonly sha256: string;
}

/** Ids of all strings by one tokenizer. */
export interface ExpectedIds {
  readonly fromModel: (number[] | LongIds)[];
  /** Ids from tokenizer.json by the string's index, where they differ. */
  readonly fromJson: Record<string, number[]>;
}

/** Ids as a fixture writes them. */
export function shortened(row: readonly number[]): readonly number[] | LongIds {
  if (row.length < 2000) return row;
  const sha256 = createHash("sha256").update(row.join(",")).digest("hex");
  return { count: row.length, first: row.slice(0, 40), last: row.slice(-40), sha256 };
}
