/** The pictures of a comparison as one: a row for each setting, a column for each prompt. */
import { joinGrid } from "../../image/grid.ts";
import type { Pixels } from "../../image/pixels.ts";
import { shrinkBy } from "../../image/shrink.ts";

/** A row of the grid. */
export interface GridRow {
  readonly label: string;
  readonly pictures: readonly Pixels[];
}

/** Pixels that all columns together should not exceed. */
const WIDEST = 8192;
/** Letters of a row's label. */
const LONGEST_LABEL = 32;

/** Pictures as the grid shows them: smaller by a whole factor where so many of them would be too wide. */
export function shrunk(pictures: readonly Pixels[], columns: number): Pixels[] {
  return pictures.map((picture) => shrinkBy(picture, Math.ceil((picture.width * columns) / WIDEST)));
}

/** Joins the rows. */
export function comparisonGrid(prompts: readonly string[], rows: readonly GridRow[]): Pixels {
  const cut = (label: string) => (label.length <= LONGEST_LABEL ? label : `${label.slice(0, LONGEST_LABEL - 3)}...`);
  const pictures = rows.flatMap((row) => row.pictures);
  const rowLabels = rows.map(({ label }) => cut(label));
  return joinGrid(pictures, { columns: prompts.length, columnLabels: prompts, rowLabels });
}
