/**
 * Latents to a file, for other programs to go on with: a safetensors file that diffusers' users read with load_file().
 */
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

/** The bytes that saveLatents writes: length of the header, header, numbers. */
export function latentsFile(latents: FloatTensor): Uint8Array {
  const { data, shape } = latents;
  const header = JSON.stringify({ latents: { dtype: "F32", shape, data_offsets: [0, data.byteLength] } });
  // Numbers begin at a multiple of 8, as the format's own writer has it.
  const headerBytes = new TextEncoder().encode(header.padEnd(Math.ceil(header.length / 8) * 8));
  const file = new Uint8Array(8 + headerBytes.length + data.byteLength);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes.length), true);
  file.set(headerBytes, 8);
  file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 8 + headerBytes.length);
  return file;
}
