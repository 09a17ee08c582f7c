/** Classifier-free guidance: the prediction is pushed away from the one for the negative prompt. */

/**
 * Mixes the two halves of a prediction: unconditional + scale * (conditional - unconditional), each step rounded to float32 as torch does.
 *
 * Shapes: prediction [2 * images, …], unconditional half first -> [images, …].
 */
export function guide(prediction: Float32Array, scale: number): Float32Array {
  const half = prediction.length / 2;
  const result = new Float32Array(half);
  const factor = Math.fround(scale);
  for (let i = 0; i < half; i++) {
    const unconditional = prediction[i] as number;
    const difference = Math.fround((prediction[half + i] as number) - unconditional);
    result[i] = unconditional + Math.fround(factor * difference);
  }
  return result;
}

/**
 * The first `channels` of each picture: models that also predict a variance put it behind the noise.
 *
 * Shapes: values [images, allChannels, …], `pictureSize` numbers a picture -> [images, channels, …].
 */
export function firstChannels(values: Float32Array, images: number, allChannels: number, channels: number): Float32Array {
  if (allChannels === channels) return values;
  const pictureSize = values.length / images;
  const kept = (pictureSize / allChannels) * channels;
  const result = new Float32Array(images * kept);
  for (let i = 0; i < images; i++) result.set(values.subarray(i * pictureSize, i * pictureSize + kept), i * kept);
  return result;
}
