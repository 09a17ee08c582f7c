/** Token ids in fixtures: long rows are kept as a digest. */
import { createHash } from "node:crypto";

/** 2,000 ids or more: their number, both ends, and the SHA-256 of them all written with commas. */
export interface LongIds {
  readonly count: number;
  readonly first: number[];
  readonly last: number[];
  readonly sha256: string;
}

/** Ids as the fixtures write them. */
export function shortened(row: readonly number[]): readonly number[] | LongIds {
  if (row.length < 2000) return row;
  const sha256 = createHash("sha256").update(row.join(",")).digest("hex");
  return { count: row.length, first: row.slice(0, 40), last: row.slice(-40), sha256 };
}
