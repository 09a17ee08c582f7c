/**
 * Joins pictures into one, in rows with labels: for comparing settings, and for the documents.
 *
 * The grid is a table: an optional heading for each column, an optional label for each row, cells as wide and high as the largest picture,
 * pictures centred in them. Text that does not fit its room is cut and ends in "...".
 */
import { UsageError } from "../errors.ts";
import { GLYPH_HEIGHT, GLYPH_WIDTH, glyphRows } from "./font.ts";
import type { Pixels } from "./pixels.ts";
import { checkPixels } from "./pixels.ts";

/** How a grid looks. */
export interface GridOptions {
  /** Pictures a row. */
  columns: number;
  /** Headings, from the left. */
  columnLabels?: readonly string[] | undefined;
  /** Labels at the left, from the top. */
  rowLabels?: readonly string[] | undefined;
  /** Text under each picture. */
  captions?: readonly string[] | undefined;
  /** Pixels between pictures and around them. Default 8. */
  margin?: number | undefined;
  /** Size of a dot of the letters in pixels. Default 2. */
  textScale?: number | undefined;
}

const PAPER = 0xff;
const INK = 0x20;

/**
 * Joins pictures, row by row.
 *
 * Errors: UsageError when there is no picture, or `columns` is not a whole number of 1 or more.
 */
export function joinGrid(pictures: readonly Pixels[], options: GridOptions): Pixels {
  const { columns, columnLabels, rowLabels, captions, margin = 8, textScale = 2 } = options;
  if (pictures.length === 0) throw new UsageError("a grid needs at least one picture, got none");
  if (!Number.isSafeInteger(columns) || columns < 1) throw new UsageError(`a grid has 1 column or more, got ${columns}`);
  for (const picture of pictures) checkPixels(picture);
  const rows = Math.ceil(pictures.length / columns);
  const cellWidth = Math.max(...pictures.map((picture) => picture.width));
  const cellHeight = Math.max(...pictures.map((picture) => picture.height));
  const lineHeight = GLYPH_HEIGHT * textScale + Math.ceil(margin / 2);
  const left = margin + (rowLabels === undefined ? 0 : Math.max(...rowLabels.map((label) => textWidth(label, textScale))) + margin);
  const top = margin + (columnLabels === undefined ? 0 : lineHeight);
  const rowHeight = cellHeight + margin + (captions === undefined ? 0 : lineHeight);
  const canvas = blank(left + columns * (cellWidth + margin), top + rows * rowHeight);

  const columnAt = (column: number) => left + column * (cellWidth + margin);
  columnLabels?.forEach((label, column) => {
    drawText(canvas, cutToWidth(label, cellWidth, textScale), columnAt(column), margin, textScale);
  });
  rowLabels?.forEach((label, row) => {
    const middle = top + row * rowHeight + Math.floor((cellHeight - GLYPH_HEIGHT * textScale) / 2);
    drawText(canvas, label, margin, middle, textScale);
  });
  pictures.forEach((picture, index) => {
    const x = columnAt(index % columns);
    const y = top + Math.floor(index / columns) * rowHeight;
    paste(canvas, picture, x + Math.floor((cellWidth - picture.width) / 2), y + Math.floor((cellHeight - picture.height) / 2));
    const caption = captions?.[index];
    if (caption !== undefined) {
      drawText(canvas, cutToWidth(caption, cellWidth, textScale), x, y + cellHeight + Math.ceil(margin / 4), textScale);
    }
  });
  return canvas;
}

function blank(width: number, height: number): Pixels {
  return { width, height, data: new Uint8Array(width * height * 3).fill(PAPER) };
}

function paste(canvas: Pixels, picture: Pixels, x: number, y: number): void {
  const rowBytes = picture.width * 3;
  for (let row = 0; row < picture.height; row++) {
    canvas.data.set(picture.data.subarray(row * rowBytes, (row + 1) * rowBytes), ((y + row) * canvas.width + x) * 3);
  }
}

function textWidth(text: string, scale: number): number {
  return [...text].length * (GLYPH_WIDTH + 1) * scale;
}

/** Cuts a text to a width. */
function cutToWidth(text: string, width: number, scale: number): string {
  if (textWidth(text, scale) - scale <= width) return text;
  const letters = Math.floor((width + scale) / ((GLYPH_WIDTH + 1) * scale));
  return letters <= 3 ? [...text].slice(0, letters).join("") : `${[...text].slice(0, letters - 3).join("")}...`;
}

function drawText(canvas: Pixels, text: string, x: number, y: number, scale: number): void {
  [...text].forEach((letter, index) => {
    glyphRows(letter).forEach((dots, row) => {
      for (let column = 0; column < GLYPH_WIDTH; column++) {
        if (dots[column] === "#") drawDot(canvas, x + (index * (GLYPH_WIDTH + 1) + column) * scale, y + row * scale, scale);
      }
    });
  });
}

/** A dot that would lie outside the canvas (more row labels than rows) is left out. */
function drawDot(canvas: Pixels, x: number, y: number, size: number): void {
  for (let row = y; row < Math.min(y + size, canvas.height); row++) {
    const end = Math.min(x + size, canvas.width);
    if (end > x) canvas.data.fill(INK, (row * canvas.width + x) * 3, (row * canvas.width + end) * 3);
  }
}
