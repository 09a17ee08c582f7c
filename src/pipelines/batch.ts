/** Batches: for every picture of a prompt the same text, for guidance every picture twice; and what several encoders say of a text put together. */
import { type FloatTensor, floatTensor } from "../tensor/tensor.ts";

/** Each entry `times` times, one copy after the other: [texts, …] -> [texts * times, …]. */
export function repeatEach({ shape, data }: FloatTensor, times: number): FloatTensor {
  const [entries = 0, ...rest] = shape;
  const perEntry = data.length / entries;
  const result = floatTensor([entries * times, ...rest]);
  for (let i = 0; i < entries * times; i++) {
    const entry = Math.floor(i / times);
    result.data.set(data.subarray(entry * perEntry, (entry + 1) * perEntry), i * perEntry);
  }
  return result;
}

/** A batch in equal pieces, in order: [entries, …] -> pieces times [entries / pieces, …]; the numbers are shared, not copied. */
export function batchPieces({ shape, data }: FloatTensor, pieces: number): FloatTensor[] {
  const [entries = 0, ...rest] = shape;
  const length = data.length / pieces;
  return Array.from({ length: pieces }, (_, i) => ({
    dtype: "float32",
    shape: [entries / pieces, ...rest],
    data: data.subarray(i * length, (i + 1) * length),
  }));
}

/** The numbers of the pieces of a batch, in order. */
export function joinBatch(pieces: readonly FloatTensor[]): Float32Array {
  const [first] = pieces;
  if (pieces.length === 1 && first !== undefined) return first.data;
  const result = new Float32Array(pieces.reduce((sum, { data }) => sum + data.length, 0));
  let at = 0;
  for (const { data } of pieces) {
    result.set(data, at);
    at += data.length;
  }
  return result;
}

/** The whole batch, then once more: [images, …] -> [2 * images, …]. */
export function doubled({ shape, data }: FloatTensor): FloatTensor {
  const [images = 0, ...rest] = shape;
  const result = floatTensor([2 * images, ...rest]);
  result.data.set(data);
  result.data.set(data, data.length);
  return result;
}

/** Two tensors one after the other along an axis; their other axes are equal. */
export function joinAlong(axis: number, a: FloatTensor, b: FloatTensor): FloatTensor {
  const rows = a.shape.slice(0, axis).reduce((product, dim) => product * dim, 1);
  const [ofA, ofB] = [a.data.length / rows, b.data.length / rows];
  const result = floatTensor(a.shape.map((dim, i) => (i === axis ? dim + (b.shape[i] as number) : dim)));
  for (let row = 0; row < rows; row++) {
    result.data.set(a.data.subarray(row * ofA, (row + 1) * ofA), row * (ofA + ofB));
    result.data.set(b.data.subarray(row * ofB, (row + 1) * ofB), row * (ofA + ofB) + ofA);
  }
  return result;
}

/** The second half of a batch: the prompt's, where the negative prompt's stands first. */
export function secondHalf({ shape, data }: FloatTensor): FloatTensor {
  const [entries = 0, ...rest] = shape;
  return floatTensor([entries / 2, ...rest], data.subarray(data.length / 2));
}
