/** One call of a part: its segments as events, its output checked. */
import { findNonFinite } from "../checkpoint/nan-scan.ts";
import { EngineError } from "../errors.ts";
import type { Executor } from "../runtime/executor.ts";
import type { FloatTensor, Tensor } from "../tensor/tensor.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import type { Phase, PipelineEvent } from "./events.ts";

/** Which part is called, for what. */
export interface ModelCall {
  readonly executor: Executor;
  readonly model: DiffusionModel;
  readonly phase: Phase;
  /** The output to return. */
  readonly output: string;
  readonly signal: AbortSignal | undefined;
}

/**
 * Calls a part.
 *
 * Errors: EngineError when the output holds NaN or infinity; it names the part, and the tensor if its weights hold one.
 */
export async function* callModel(call: ModelCall, inputs: Readonly<Record<string, Tensor>>): AsyncGenerator<PipelineEvent, FloatTensor> {
  const run = call.executor.run(inputs, call.signal);
  const { phase } = call;
  for (;;) {
    const { done, value } = await run.next();
    if (!done) {
      yield { type: "segment", phase, part: call.model.part, ...value };
      continue;
    }
    const output = value[call.output] as FloatTensor;
    if (!allFinite(output.data)) throw await explainNonFinite(call);
    return output;
  }
}

function allFinite(values: Float32Array): boolean {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return false;
  return true;
}

async function explainNonFinite({ model, signal }: ModelCall): Promise<EngineError> {
  const found = await findNonFinite(model.tensors, { signal });
  if (found === undefined) {
    return new EngineError(`${model.part} calculated a value that is not a finite number, though its weights are all finite`, {
      hint: "an activation overflowed; another prompt, size or dtype may pass",
    });
  }
  return new EngineError(
    `${model.part} calculated a value that is not a finite number: weight "${found.tensor.name}" holds ${found.kind} at ${found.index}`,
    {
      where: found.tensor.source.name,
      hint: "the checkpoint is damaged or was saved from a training that had failed: get it again",
    },
  );
}
