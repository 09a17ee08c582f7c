/**
 * A fingerprint of a pipeline's weights and configs: tells two checkpoints apart without reading gigabytes.
 */
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import type { DiffusionModel } from "./diffusion-model.ts";

/** Read from each of a few tensors of every part. */
const SAMPLE_BYTES = 4096;
const SAMPLES = 16;

/**
 * SHA-256 over the models by the names of their slots: configs, the names, dtypes and shapes of all tensors, and 4 KiB each of 16 tensors spread over every part; hexadecimal.
 *
 * Two trainings of one architecture differ in all of their tensors, so samples tell them apart.
 */
export async function fingerprint(models: Iterable<readonly [string, DiffusionModel]>, scheduler: unknown): Promise<string> {
  const chunks: Uint8Array[] = [encode(JSON.stringify(scheduler))];
  for (const [slot, model] of models) {
    const tensors = model.storedTensors.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    chunks.push(
      encode(JSON.stringify([slot, model.className, model.config, tensors.map(({ name, dtype, shape }) => [name, dtype, shape])])),
    );
    for (const tensor of spread(tensors)) chunks.push(await tensor.source.read(tensor.offset, Math.min(SAMPLE_BYTES, tensor.sizeBytes)));
  }
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(chunks as Uint8Array<ArrayBuffer>[]).arrayBuffer());
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function spread(tensors: readonly StoredTensor[]): StoredTensor[] {
  const count = Math.min(SAMPLES, tensors.length);
  return Array.from({ length: count }, (_, i) => tensors[Math.floor((i * tensors.length) / count)] as StoredTensor);
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
