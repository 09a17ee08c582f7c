/** Batches: for every picture of a prompt the same text, and for guidance every picture twice. */
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

/** The whole batch, then once more: [images, …] -> [2 * images, …]. */
export function doubled({ shape, data }: FloatTensor): FloatTensor {
  const [images = 0, ...rest] = shape;
  const result = floatTensor([2 * images, ...rest]);
  result.data.set(data);
  result.data.set(data, data.length);
  return result;
}
