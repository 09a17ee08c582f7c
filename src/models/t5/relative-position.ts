/**
 * Which bucket of T5's relative position bias each pair of tokens falls into: near distances have a bucket each, far ones share buckets
 * that grow logarithmically.
 */

/**
 * Bucket numbers of all pairs of a sequence.
 *
 * Shapes: result [tokens, tokens] row-major, query first.
 */
export function relativePositionBuckets(tokens: number, buckets: number, maxDistance: number): number[] {
  const byPosition = Array.from({ length: 2 * tokens - 1 }, (_, i) => relativePositionBucket(i - tokens + 1, buckets, maxDistance));
  return Array.from({ length: tokens * tokens }, (_, i) => byPosition[(i % tokens) - Math.floor(i / tokens) + tokens - 1] as number);
}

/**
 * Bucket of one position of a key relative to its query, in a bidirectional encoder: the upper half of the buckets is for keys that follow.
 *
 * Source: transformers modeling_t5.py@5.23 `_relative_position_bucket`, including its float32 logarithm.
 */
export function relativePositionBucket(position: number, buckets: number, maxDistance: number): number {
  const half = Math.floor(buckets / 2);
  const exact = Math.floor(half / 2);
  const distance = Math.abs(position);
  const offset = position > 0 ? half : 0;
  if (distance < exact) return offset + distance;
  const f = Math.fround;
  const logarithm = f(Math.log(f(distance / exact)));
  const far = f(f(logarithm / Math.log(maxDistance / exact)) * (half - exact));
  return offset + Math.min(exact + Math.trunc(far), half - 1);
}
