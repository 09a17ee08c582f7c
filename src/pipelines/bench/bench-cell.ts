/** The matrix of a benchmark: lists of settings in, cells out. A cell is one way to make the same pictures; pure. */
import { UsageError } from "../../errors.ts";
import { matchesPattern } from "../../quant/fnmatch.ts";
import { parseSpec, type SpecPair } from "../../quant/spec.ts";
import type { ComputeDType } from "../../tensor/dtype.ts";

/** Of a picture, in pixels. */
export interface BenchSize {
  readonly height: number;
  readonly width: number;
}

/** One way to make the pictures. */
export interface BenchCell {
  readonly dtype: ComputeDType;
  /** As --qtype takes it; null for weights as they are. */
  readonly qtype: string | null;
  /** Patterns of layers that stay as they are. */
  readonly exclude: readonly string[];
  readonly fuseQkv: boolean;
  /** null for the size that all cells have. */
  readonly size: BenchSize | null;
  /** Pictures at once. */
  readonly images: number;
  /** "fast" may also quantize activations. */
  readonly mode: "faithful" | "fast";
}

/** What is crossed with what. */
export interface BenchMatrix {
  /** Default: float32. */
  readonly dtypes?: readonly ComputeDType[] | undefined;
  /** As --qtype takes them; "none" for weights as they are. Default: "none". */
  readonly qtypes?: readonly string[] | undefined;
  /** Patterns of layers that stay as they are in every quantized cell; with "none" among them, each also has a twin without any such layer. */
  readonly exclude?: readonly string[] | undefined;
  /** Adds a twin of each cell with one product for queries, keys and values. */
  readonly fuseQkv?: boolean | undefined;
  /** Adds a twin in fast mode of each cell that has qint8 in it, the qtype whose products have a fast form. */
  readonly fast?: boolean | undefined;
  /** Default: the one that measure() takes by itself. */
  readonly sizes?: readonly BenchSize[] | undefined;
  /** Default: one picture. */
  readonly images?: readonly number[] | undefined;
  /** dtypes that the peer calculates in. Default: float32, which is what halftone calculates in whatever its dtype is. */
  readonly peerDtypes?: readonly ComputeDType[] | undefined;
}

/** The word for weights as they are, and for no layer left out. */
const NONE = "none";
const ENCODERS = ["text_encoder", "text_encoder_2", "text_encoder_3"];

/**
 * halftone's cells: qtypes change slowest, then layers left out, sizes, images, dtypes, fused, fast.
 *
 * Errors: UsageError for an unknown qtype, for a setting that was given twice, and for one that would do nothing.
 */
export function benchCells(matrix: BenchMatrix): BenchCell[] {
  return crossed(matrix, given(matrix.dtypes, ["float32"], "dtype"), [false, ...(matrix.fast === true ? [true] : [])]);
}

/** The peer's cells: a twin of each of halftone's in each of the peer's dtypes. Errors: as benchCells(). */
export function peerCells(matrix: BenchMatrix): BenchCell[] {
  return crossed(matrix, given(matrix.peerDtypes, ["float32"], "peer dtype"), [false]);
}

function crossed(matrix: BenchMatrix, dtypes: readonly ComputeDType[], fast: readonly boolean[]): BenchCell[] {
  const qtypes = given(matrix.qtypes, [NONE], "qtype").map((spec) => (spec === NONE ? null : spec));
  for (const spec of qtypes) if (spec !== null) parseSpec(spec);
  if (matrix.fast === true && !qtypes.some(hasQint8)) {
    throw new UsageError("fast multiplies weights in qint8, and no setting has any", { hint: "add --qtype qint8" });
  }
  if (matrix.exclude?.length && qtypes.every((spec) => spec === null)) {
    throw new UsageError("exclude says which layers are quantized, but nothing is", { hint: "add --qtype qint8" });
  }
  const images = given(matrix.images, [1], "number of images");
  const wrong = images.find((count) => !Number.isSafeInteger(count) || count < 1);
  if (wrong !== undefined) throw new UsageError(`images must be whole numbers of at least 1, got ${wrong}`);
  const sizes = sizesOf(matrix);
  const cells: BenchCell[] = [];
  for (const qtype of qtypes) {
    const modes = fast.filter((isFast) => !isFast || hasQint8(qtype)).map((isFast) => (isFast ? "fast" : "faithful"));
    for (const exclude of qtype === null ? [[]] : excludesOf(matrix))
      for (const size of sizes)
        for (const count of images)
          for (const dtype of dtypes)
            for (const fuseQkv of [false, ...(matrix.fuseQkv === true ? [true] : [])])
              for (const mode of modes) cells.push({ dtype, qtype, exclude, fuseQkv, size, images: count, mode });
  }
  return cells;
}

/** Patterns are one set, as in every other command; "none" adds the empty one. */
function excludesOf({ exclude = [] }: BenchMatrix): (readonly string[])[] {
  const patterns = exclude.filter((pattern) => pattern !== NONE);
  return exclude.includes(NONE) && patterns.length > 0 ? [[], patterns] : [patterns];
}

function sizesOf({ sizes = [] }: BenchMatrix): readonly (BenchSize | null)[] {
  if (sizes.length === 0) return [null];
  refuseRepeated(sizes.map(sizeText), "size");
  const wrong = sizes.find((size) => ![size.height, size.width].every((pixels) => Number.isSafeInteger(pixels) && pixels > 0));
  if (wrong !== undefined) throw new UsageError(`sizes must be whole numbers of pixels, got ${sizeText(wrong)}`);
  return sizes;
}

function given<T>(values: readonly T[] | undefined, usual: readonly T[], what: string): readonly T[] {
  const used = values === undefined || values.length === 0 ? usual : values;
  refuseRepeated(used, what);
  return used;
}

function refuseRepeated(values: readonly unknown[], what: string): void {
  const again = values.find((value, i) => values.indexOf(value) < i);
  if (again !== undefined) throw new UsageError(`${what} ${JSON.stringify(again)} was given twice`);
}

function hasQint8(qtype: string | null): boolean {
  return qtype !== null && parseSpec(qtype).some((pair) => pair.qtype.name === "qint8");
}

/** Whether two cells ask for the same work, whatever dtype and mode it is done in: what a peer's figures are laid beside. */
export function isSameWork(a: BenchCell, b: BenchCell): boolean {
  return workText(a) === workText(b);
}

/** What a cell asks for, but for dtype and mode: "qint8, 4 images, fused". */
function workText(cell: BenchCell): string {
  const { exclude } = cell;
  return [qtypeText(cell), ...(exclude.length === 0 ? [] : [`without ${exclude.join(" ")}`]), batchText(cell)].join(", ");
}

/** "1024 x 768": width, then height. */
export function sizeText({ height, width }: BenchSize): string {
  return `${width} x ${height}`;
}

/** "qint8", "none". */
export function qtypeText({ qtype }: BenchCell): string {
  return qtype ?? NONE;
}

/** "1 image", "1024 x 768, 4 images, fused". */
export function batchText({ size, images, fuseQkv }: BenchCell): string {
  return `${size === null ? "" : `${sizeText(size)}, `}${images === 1 ? "1 image" : `${images} images`}${fuseQkv ? ", fused" : ""}`;
}

/** How a cell is worked: "float32", "float32 fast". */
export function wayText({ dtype, mode }: BenchCell): string {
  return mode === "fast" ? `${dtype} fast` : dtype;
}

/** A cell in words: "qint8, 4 images, fused, float32". */
export function cellText(cell: BenchCell): string {
  return `${workText(cell)}, ${wayText(cell)}`;
}

/** What a cell makes of the transformer and of the text encoders, each as a word or a short list. */
export function partQtypes({ qtype }: BenchCell): { readonly transformer: string; readonly textEncoder: string } {
  if (qtype === null) return { transformer: NONE, textEncoder: NONE };
  const spec = parseSpec(qtype);
  const list = (pairs: readonly SpecPair[], name: (pair: SpecPair) => string) => {
    const texts = pairs.map((pair) => [name(pair), pair.module, pair.qtype.name].filter((text) => text).join(" "));
    return texts.length === 0 ? NONE : texts.join("; ");
  };
  const ofTransformer = spec.filter(({ part }) => part === undefined || matchesPattern("transformer", part));
  // A pair that names the transformer itself wins over those that only match it.
  const named = ofTransformer.filter(({ part, module }) => part === "transformer" || module !== undefined);
  const hasOwn = named.some(({ module }) => module === undefined);
  const ofEncoders = spec.filter(({ part }) => part === undefined || ENCODERS.some((name) => matchesPattern(name, part)));
  return {
    transformer: list(hasOwn ? named : ofTransformer, () => ""),
    textEncoder: list(ofEncoders, ({ part }) => (part === undefined || part === "*" || part === "text_encoder*" ? "" : part)),
  };
}
