/**
 * A fingerprint of a pipeline's weights and configs: tells two checkpoints apart without reading gigabytes.
 */
import type { DiffusionModel } from "./diffusion-model.ts";

/** Read from the middle of every tensor. */
const SAMPLE_BYTES = 256;

/**
 * SHA-256 over the models by the names of their slots: configs, the names, dtypes and shapes of all tensors, and 256 bytes from the middle of
 * each; hexadecimal.
 *
 * Two checkpoints that differ in any tensor nearly always differ in these bytes of it; a change of single numbers elsewhere is not seen.
 */
export async function fingerprint(models: Iterable<readonly [string, DiffusionModel]>, scheduler: unknown): Promise<string> {
  const chunks: Uint8Array[] = [encode(JSON.stringify(scheduler))];
  for (const [slot, model] of models) chunks.push(encode(slot), await samplesOf(model));
  return hexadecimal(await digest(chunks));
}

/** A part does not change while it is open, so it is sampled once. */
const known = new WeakMap<DiffusionModel, Promise<Uint8Array>>();

function samplesOf(model: DiffusionModel): Promise<Uint8Array> {
  const found = known.get(model) ?? sample(model);
  known.set(model, found);
  return found;
}

async function sample(model: DiffusionModel): Promise<Uint8Array> {
  const tensors = model.storedTensors.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const about = tensors.map(({ name, dtype, shape }) => [name, dtype, shape]);
  const chunks: Uint8Array[] = [encode(JSON.stringify([model.className, model.config, about]))];
  for (const { source, offset, sizeBytes } of tensors) {
    const length = Math.min(SAMPLE_BYTES, sizeBytes);
    chunks.push(await source.read(offset + Math.floor((sizeBytes - length) / 2), length));
  }
  return digest(chunks);
}

async function digest(chunks: readonly Uint8Array[]): Promise<Uint8Array> {
  const bytes = await new Blob(chunks as Uint8Array<ArrayBuffer>[]).arrayBuffer();
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}

function hexadecimal(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
