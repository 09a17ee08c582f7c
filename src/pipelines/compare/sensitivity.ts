/** What each quantized layer does by itself: its error, and the bytes that it saves. */
import { throwIfCancelled } from "../../checkpoint/cancel.ts";
import type { DiffusionModel } from "../diffusion-model.ts";
import { blockErrors } from "./block-errors.ts";
import { type LayersByPart, type Probed, predictionError } from "./prediction-error.ts";
import type { LayerSensitivity, Sensitivity } from "./report.ts";

/**
 * Measures every layer of a frozen pipeline; `onLayer` is told how many are done.
 *
 * Leaves the pipeline with none of its layers quantized.
 */
export async function measureSensitivity(
  probed: Probed,
  measure: Sensitivity["measure"],
  onLayer: (done: number, total: number) => void,
): Promise<Sensitivity> {
  const layers = quantizedLayers(probed);
  const errors = measure === "prediction" ? await predictionErrors(probed, layers, onLayer) : await outputErrors(probed, layers, onLayer);
  const found = layers.map((layer, i): LayerSensitivity => ({ ...layer, error: errors[i] as number }));
  const calls = probed.recordings.flatMap(({ request, calls }) =>
    calls.map(({ index, timestep }) => ({ prompt: request.prompt, step: index + 1, timestep })),
  );
  return { measure, calls, layers: found.sort((a, b) => b.error - a.error) };
}

type Layer = Omit<LayerSensitivity, "error">;

/** The layers that are quantized now, in the order of the parts. */
export function quantizedLayers({ parts }: Pick<Probed, "parts">): Layer[] {
  return Array.from(parts.models).flatMap(([part, model]) => {
    if (model === null) return [];
    return Array.from(model.qtypes, ([name, qtype]) => ({ part, name, qtype, savedBytes: savedBytesOf(model, name) }));
  });
}

function savedBytesOf(model: DiffusionModel, layer: string): number {
  const sum = (tensors: DiffusionModel["tensors"], isWanted: (name: string) => boolean) =>
    tensors.reduce((total, { name, sizeBytes }) => total + (isWanted(name) ? sizeBytes : 0), 0);
  return (
    sum(model.storedTensors, (name) => name === `${layer}.weight`) - sum(model.tensors, (name) => name.startsWith(`${layer}.weight._`))
  );
}

/** Layers as sets by part. */
export function byPart(layers: readonly Pick<Layer, "part" | "name">[]): LayersByPart {
  const sets = new Map<string, Set<string>>();
  for (const { part, name } of layers) sets.set(part, (sets.get(part) ?? new Set()).add(name));
  return sets;
}

async function predictionErrors(
  probed: Probed,
  layers: readonly Layer[],
  onLayer: (done: number, total: number) => void,
): Promise<number[]> {
  const errors: number[] = [];
  for (const [done, layer] of layers.entries()) {
    onLayer(done, layers.length);
    throwIfCancelled(probed.signal);
    errors.push(await predictionError(probed, byPart([layer])));
  }
  onLayer(layers.length, layers.length);
  return errors;
}

/** A block that runs several times gives several errors, whose squares are averaged. */
async function outputErrors(probed: Probed, layers: readonly Layer[], onLayer: (done: number, total: number) => void): Promise<number[]> {
  const squares = new Map<string, number[]>();
  onLayer(0, layers.length);
  await blockErrors(probed, byPart(layers), (part, name, error) => {
    const key = `${part}:${name}`;
    squares.set(key, [...(squares.get(key) ?? []), error ** 2]);
    onLayer(squares.size, layers.length);
  });
  return layers.map(({ part, name }) => {
    const found = squares.get(`${part}:${name}`) ?? [0];
    return Math.sqrt(found.reduce((sum, square) => sum + square, 0) / found.length);
  });
}
