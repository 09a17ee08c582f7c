/**
 * Which layers are worth keeping in float: a greedy choice by the error that each removes per byte that it costs.
 *
 * Errors of single layers are taken as independent, so that their squares add up. What the sum predicts of the whole is scaled to what was
 * measured with everything quantized; a caller measures the choice and asks again with a lower limit where the prediction was too hopeful.
 */

/** A layer's share in the error, and what it saves. */
export interface LayerCost {
  readonly name: string;
  /** Relative error with this layer alone quantized. */
  readonly error: number;
  /** Bytes that quantizing it saves; keeping it float costs them. */
  readonly savedBytes: number;
}

/** Sum of the squares of the errors. */
export function sumOfSquares(layers: readonly LayerCost[]): number {
  return layers.reduce((sum, { error }) => sum + error ** 2, 0);
}

/**
 * Names of the layers to keep float so that the squared errors of the others sum to `limit` at most, in the order given.
 *
 * Layers are taken by error per byte until the rest is good enough; then those that later choices have made unnecessary are given back,
 * the dearest first.
 */
export function chooseFloatLayers(layers: readonly LayerCost[], limit: number): string[] {
  const worth = ({ error, savedBytes }: LayerCost) => error ** 2 / Math.max(savedBytes, 1);
  const chosen = new Set<LayerCost>();
  const rest = () => sumOfSquares(layers.filter((layer) => !chosen.has(layer)));
  for (const layer of layers.toSorted((a, b) => worth(b) - worth(a))) {
    if (rest() <= limit) break;
    chosen.add(layer);
  }
  for (const layer of [...chosen].sort((a, b) => b.savedBytes - a.savedBytes)) {
    chosen.delete(layer);
    if (rest() > limit) chosen.add(layer);
  }
  return layers.filter((layer) => chosen.has(layer)).map(({ name }) => name);
}
