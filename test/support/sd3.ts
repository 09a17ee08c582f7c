/** A call of SD3Transformer2DModel as a fixture describes it. */
import { parseConfig } from "../../src/checkpoint/config.ts";
import type { Weights } from "../../src/checkpoint/weights.ts";
import type { ModelGraph } from "../../src/graph/segment.ts";
import { SD3ConfigSchema } from "../../src/models/sd3/config.ts";
import { sd3ConstantInputs, sd3StepInputs, sd3Transformer } from "../../src/models/sd3/model.ts";
import type { ComputeDType } from "../../src/tensor/dtype.ts";
import { floatTensor, type Tensor } from "../../src/tensor/tensor.ts";
import type { FixtureCase } from "./fixture.ts";

/** The model for the size of the case's inputs, and these inputs. */
export function sd3Call(
  config: Record<string, unknown>,
  found: FixtureCase,
  dtype: ComputeDType,
): { model: (weights: Weights) => ModelGraph; inputs: Record<string, Tensor> } {
  const parsed = parseConfig(SD3ConfigSchema, config, "transformer config", "sd3");
  const { hidden_states, timestep, encoder_hidden_states, pooled_projections } = found.inputs;
  if (!hidden_states || !timestep || !encoder_hidden_states || !pooled_projections) throw new Error("the fixture has changed");
  const [batch = 0, , latentHeight = 0, latentWidth = 0] = hidden_states.shape;
  const [, textTokens = 0] = encoder_hidden_states.shape;
  const skipLayers = (found.meta.skipLayers as number[] | undefined) ?? [];
  const size = { batch, latentHeight, latentWidth, textTokens, timesteps: timestep.values.length, skipLayers };
  return {
    model: (weights) => sd3Transformer(weights, parsed, dtype, size),
    inputs: {
      ...sd3ConstantInputs({
        encoderHiddenStates: floatTensor(encoder_hidden_states.shape, encoder_hidden_states.values),
        pooledProjections: floatTensor(pooled_projections.shape, pooled_projections.values),
      }),
      ...sd3StepInputs(floatTensor(hidden_states.shape, hidden_states.values), Array.from(timestep.values)),
    },
  };
}
