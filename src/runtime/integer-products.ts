/**
 * Which products of bytes an engine calculates exactly on this processor: it is asked once, with the largest numbers that there are.
 *
 * x86 processors without VNNI multiply a byte without sign by one with sign in pairs whose sum they hold in 16 bits: 2 x 255 x 127 does not fit
 * and is cut off, silently (microsoft/onnxruntime issue 14642). Bytes without sign on both sides are widened first.
 */
import { memorySource } from "../checkpoint/memory-source.ts";
import type { IntegerProducts } from "../checkpoint/weights.ts";
import { EngineError } from "../errors.ts";
import { Graph } from "../graph/graph.ts";
import { matMulIntegers } from "../graph/operators.ts";
import type { Runtime } from "./runtime.ts";

/** Rows, terms of a sum and columns: enough for the engine's usual kernel, which it leaves for single rows. */
const [ROWS, TERMS, COLUMNS] = [32, 256, 32];

const known = new WeakMap<Runtime, Promise<IntegerProducts>>();

/**
 * The faster kind of product that is exact, the same for every call.
 *
 * Errors: EngineError where none is.
 */
export function exactIntegerProducts(runtime: Runtime): Promise<IntegerProducts> {
  const found = known.get(runtime) ?? askEngine(runtime);
  known.set(runtime, found);
  return found;
}

async function askEngine(runtime: Runtime): Promise<IntegerProducts> {
  for (const kind of ["signed", "unsigned"] as const) if (await isExact(runtime, kind)) return kind;
  throw new EngineError("the engine does not multiply 8-bit integers exactly on this processor, which a fast run needs", {
    hint: "make the picture without fast",
  });
}

/** Rows of 255 by columns whose codes are all the highest, or all the lowest. */
async function isExact(runtime: Runtime, kind: IntegerProducts): Promise<boolean> {
  const columns = Array.from({ length: COLUMNS }, (_, column) => (column % 2 === 0 ? 127 : -128));
  const codes = Int8Array.from({ length: TERMS * COLUMNS }, (_, i) => (columns[i % COLUMNS] as number) + (kind === "signed" ? 0 : 128));
  const g = new Graph("float32");
  const stored = (name: string, dtype: "int8" | "uint8", shape: number[], bytes: Uint8Array) =>
    g.weight({ name, dtype, shape, source: memorySource(name, bytes), offset: 0, sizeBytes: bytes.length });
  const x = stored("x", "uint8", [ROWS, TERMS], new Uint8Array(ROWS * TERMS).fill(255));
  const weight = stored("weight", kind === "signed" ? "int8" : "uint8", [TERMS, COLUMNS], new Uint8Array(codes.buffer));
  const zeroPoint = kind === "signed" ? {} : { zeroPoint: g.byte(128) };
  const ones = g.floats(Array(COLUMNS).fill(1));
  g.output("y", matMulIntegers(g, { codes: x, scale: g.floats([1], []) }, { codes: weight, scale: ones, ...zeroPoint }));
  const program = await runtime.compile(g, { keepScratchMemory: false });
  try {
    const sums = (await program.run({})).y?.data as Float32Array;
    return sums.every((sum, i) => sum === TERMS * 255 * (columns[i % COLUMNS] as number));
  } finally {
    await program.dispose();
  }
}
