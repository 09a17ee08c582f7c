/**
 * Latents to a file, for other programs to go on with: a safetensors file that diffusers' users read with load_file().
 */
import { encodeSafetensors } from "../checkpoint/safetensors-layout.ts";
import { writeWholeFile } from "../image/save-node.ts";
import type { FloatTensor } from "../tensor/tensor.ts";

/**
 * Writes latents as tensor "latents", float32 [images, channels, latentHeight, latentWidth]; whole or not at all.
 *
 * Errors: FileError as saving a picture.
 */
export async function saveLatents(path: string, latents: FloatTensor): Promise<void> {
  await writeWholeFile(path, latentsFile(latents));
}

/** The bytes that saveLatents writes. */
export function latentsFile({ shape, data }: FloatTensor): Uint8Array {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return encodeSafetensors([{ name: "latents", dtype: "float32", shape, bytes }]);
}
