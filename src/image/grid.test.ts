import { describe, expect, test } from "vitest";
import { GLYPH_HEIGHT, GLYPH_WIDTH, glyphRows } from "./font.ts";
import { joinGrid } from "./grid.ts";
import type { Pixels } from "./pixels.ts";

describe("font", () => {
  const letters = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));

  test("every printable letter is drawn within its box", () => {
    for (const letter of letters) {
      const rows = glyphRows(letter);
      expect(rows.length, letter).toBeLessThanOrEqual(GLYPH_HEIGHT);
      for (const row of rows) expect(row, letter).toMatch(new RegExp(`^[.#]{${GLYPH_WIDTH}}$`));
    }
  });

  test("no two letters look alike, and others are a box", () => {
    expect(new Set(letters.map((letter) => glyphRows(letter).join("/"))).size).toBe(95);
    expect(glyphRows("é")).toEqual(glyphRows("苹"));
  });
});

describe("joinGrid", () => {
  const red = plain(4, 3, [200, 0, 0]);
  const green = plain(2, 1, [0, 200, 0]);

  test("places pictures row by row, centred in cells of one size", () => {
    const grid = joinGrid([red, green, red], { columns: 2, margin: 1 });
    expect([grid.width, grid.height]).toEqual([1 + 2 * 5, 1 + 2 * 4]);
    expect(draw(grid)).toEqual([
      "           ",
      " rrrr      ",
      " rrrr  gg  ",
      " rrrr      ",
      "           ",
      " rrrr      ",
      " rrrr      ",
      " rrrr      ",
      "           ",
    ]);
  });

  test("writes labels above, beside and below", () => {
    const wide = plain(11, 2, [200, 0, 0]);
    const grid = joinGrid([wide], { columns: 1, columnLabels: ["HI"], rowLabels: ["-"], captions: ["i"], margin: 1, textScale: 1 });
    const lines = draw(grid);
    expect(lines.slice(1, 8).map((line) => line.slice(8, 19))).toEqual([
      "#   #  ### ",
      "#   #   #  ",
      "#   #   #  ",
      "#####   #  ",
      "#   #   #  ",
      "#   #   #  ",
      "#   #  ### ",
    ]);
    expect(lines[11]).toContain("rrrrrrrrrrr");
    expect(lines.slice(14, 21).map((line) => line.slice(8, 13))).toEqual(["  #  ", "     ", " ##  ", "  #  ", "  #  ", "  #  ", " ### "]);
    expect(lines.some((line) => line.startsWith(" #####  "))).toBe(true);
  });

  test("cuts a label that is wider than its column", () => {
    const picture = plain(48, 1, [0, 0, 0]);
    const cut = joinGrid([picture], { columns: 1, captions: ["abcdefghijkl"], textScale: 1 });
    expect(cut).toEqual(joinGrid([picture], { columns: 1, captions: ["abcde..."], textScale: 1 }));
  });

  test("refuses nothing, and no columns", () => {
    expect(() => joinGrid([], { columns: 1 })).toThrow("a grid needs at least one picture, got none");
    expect(() => joinGrid([red], { columns: 0 })).toThrow("a grid has 1 column or more, got 0");
  });
});

function plain(width: number, height: number, color: readonly [number, number, number]): Pixels {
  return { width, height, data: Uint8Array.from({ length: width * height * 3 }, (_, i) => color[i % 3] as number) };
}

/** Shows a picture as text: paper, ink, red, green. */
function draw({ width, height, data }: Pixels): string[] {
  const sign = (r: number, g: number) => (r === 0xff ? " " : r === 0x20 ? "#" : r > g ? "r" : "g");
  return Array.from({ length: height }, (_, y) =>
    Array.from({ length: width }, (_, x) => sign(data[(y * width + x) * 3] as number, data[(y * width + x) * 3 + 1] as number)).join(""),
  );
}
