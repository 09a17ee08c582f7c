/** Every tolerance of the parity tests, each with its reason. Relative RMS = rms(got - want) / rms(want). */
export const TOLERANCES = {
  /** One float32 model call against torch: both sum the same products in another order. */
  modelRelativeRms: 1e-5,
  /** A single layer: fewer sums than a model. */
  layerRelativeRms: 3e-6,
  /** Final latents of 20 steps; a pipeline whose reference moves more under a 1e-7 perturbation is allowed 20 times that drift. */
  latentsRelativeRms: 1e-4,
  latentsDriftFactor: 20,
  /** dB, of a fast picture against the faithful one of the same weights: the test's have 42 and more; docs/quantization.md says how others spread. */
  fastPsnr: 35,
  /** Pictures, in steps of 8 bits. */
  pictureLevels: 1,
} as const;
