/**
 * Which bucket of T5's relative position bias each pair of tokens falls into: near distances have a bucket each, far ones share buckets
 * that grow logarithmically.
 */

/**
 * Bucket numbers of all pairs, for a bidirectional encoder.
 *
 * Shapes: result [tokens, tokens] row-major, query first.
 * Source: transformers modeling_t5.py@5.23 `_relative_position_bucket`, including its float32 logarithm.
 */
export function relativePositionBuckets(tokens: number, buckets: number, maxDistance: number): number[] {
  const byDistance = Array.from({ length: tokens }, (_, distance) => bucketOfDistance(distance, buckets / 2, maxDistance));
  return Array.from({ length: tokens * tokens }, (_, i) => {
    const relative = (i % tokens) - Math.floor(i / tokens);
    return (relative > 0 ? buckets / 2 : 0) + (byDistance[Math.abs(relative)] as number);
  });
}

function bucketOfDistance(distance: number, buckets: number, maxDistance: number): number {
  const exact = buckets / 2;
  if (distance < exact) return distance;
  const f = Math.fround;
  const logarithm = f(Math.log(f(distance / exact)));
  const far = f(f(logarithm / Math.log(maxDistance / exact)) * (buckets - exact));
  return Math.min(exact + Math.trunc(far), buckets - 1);
}
