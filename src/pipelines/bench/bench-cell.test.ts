/** From lists of settings to cells. */
import { describe, expect, test } from "vitest";
import { type BenchCell, benchCells, cellText, isSameWork, partQtypes, peerCells } from "./bench-cell.ts";

const cell = (change: Partial<BenchCell> = {}): BenchCell => ({
  ...{ dtype: "float32", qtype: null, exclude: [], fuseQkv: false, size: null, images: 1, mode: "faithful", ...change },
});

describe("the matrix", () => {
  test("is one float32 picture unless told", () => {
    expect(benchCells({})).toEqual([cell()]);
    expect(peerCells({ dtypes: ["float16"] })).toEqual([cell()]);
  });

  test("crosses everything, qtypes slowest", () => {
    const cells = benchCells({ qtypes: ["none", "qint8"], images: [1, 4], dtypes: ["float32", "float16"], fuseQkv: true });
    expect(cells).toHaveLength(16);
    expect(cells.slice(0, 5).map(cellText)).toEqual([
      "none, 1 image, float32",
      "none, 1 image, fused, float32",
      "none, 1 image, float16",
      "none, 1 image, fused, float16",
      "none, 4 images, float32",
    ]);
    expect(cells.at(-1)).toEqual(cell({ qtype: "qint8", images: 4, dtype: "float16", fuseQkv: true }));
  });

  test("leaves layers out where something is quantized", () => {
    const cells = benchCells({ qtypes: ["none", "qint4"], exclude: ["proj_out"] });
    expect(cells.map(({ exclude }) => exclude)).toEqual([[], ["proj_out"]]);
    expect(cells.map(cellText)).toEqual(["none, 1 image, float32", "qint4, without proj_out, 1 image, float32"]);
  });

  test("crosses layers left out with none, and sizes", () => {
    const sizes = [
      { height: 512, width: 512 },
      { height: 768, width: 1024 },
    ];
    const cells = benchCells({ qtypes: ["none", "qint8"], exclude: ["none", "proj_out", "*norm*"], sizes });
    expect(cells.map(cellText)).toEqual([
      "none, 512 x 512, 1 image, float32",
      "none, 1024 x 768, 1 image, float32",
      "qint8, 512 x 512, 1 image, float32",
      "qint8, 1024 x 768, 1 image, float32",
      "qint8, without proj_out *norm*, 512 x 512, 1 image, float32",
      "qint8, without proj_out *norm*, 1024 x 768, 1 image, float32",
    ]);
    expect(peerCells({ qtypes: ["qint8"], exclude: ["none"], sizes }).map(({ exclude, size }) => ({ exclude, size }))).toEqual(
      sizes.map((size) => ({ exclude: [], size })),
    );
  });

  test("has fast twins of what holds qint8, and peers have none", () => {
    const matrix = { qtypes: ["none", "qint4", "transformer=qint8"], fast: true };
    expect(benchCells(matrix).map(cellText)).toEqual([
      "none, 1 image, float32",
      "qint4, 1 image, float32",
      "transformer=qint8, 1 image, float32",
      "transformer=qint8, 1 image, float32 fast",
    ]);
    expect(peerCells({ ...matrix, peerDtypes: ["float32", "bfloat16"] })).toHaveLength(6);
  });

  test.each<[matrix: Parameters<typeof benchCells>[0], message: string]>([
    [{ qtypes: ["qint8", "qint8"] }, 'qtype "qint8" was given twice'],
    [{ images: [4, 1, 4] }, "number of images 4 was given twice"],
    [{ images: [1.5] }, "images must be whole numbers of at least 1, got 1.5"],
    [
      {
        sizes: [
          { height: 64, width: 64 },
          { height: 64, width: 64 },
        ],
      },
      'size "64 x 64" was given twice',
    ],
    [{ sizes: [{ height: 0.5, width: 64 }] }, "sizes must be whole numbers of pixels, got 64 x 0.5"],
    [{ qtypes: ["qint3"] }, "qtype must be one of"],
    [{ fast: true }, "fast multiplies weights in qint8, and no setting has any"],
    [{ exclude: ["proj_out"], qtypes: ["none"] }, "exclude says which layers are quantized, but nothing is"],
  ])("%j is refused", (matrix, message) => {
    expect(() => benchCells(matrix)).toThrow(message);
  });
});

test("work is the same whatever dtype and mode it is done in", () => {
  expect(isSameWork(cell(), cell({ dtype: "bfloat16", mode: "fast" }))).toBe(true);
  for (const change of [{ qtype: "qint8" }, { images: 4 }, { fuseQkv: true }, { size: { height: 512, width: 512 } }])
    expect(isSameWork(cell(), cell(change))).toBe(false);
});

test.each([
  [null, "none", "none"],
  ["qint8", "qint8", "qint8"],
  ["transformer=qint8", "qint8", "none"],
  ["text_encoder*=qfloat8", "none", "qfloat8_e4m3fn"],
  ["qint4,text_encoder_2=qint8", "qint4", "qint4; text_encoder_2 qint8"],
  ["transformer=qint8,transformer:*attn*=qint4", "qint8; *attn* qint4", "none"],
  ["*=qint8,transformer=qint4", "qint4", "qint8"],
  ["t*=qint8", "qint8", "t* qint8"],
])("%s in two columns", (qtype, transformer, textEncoder) => {
  expect(partQtypes(cell({ qtype }))).toEqual({ transformer, textEncoder });
});
