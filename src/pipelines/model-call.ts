/** One call of a part: its segments as events, its outputs checked. */
import { findNonFinite } from "../checkpoint/nan-scan.ts";
import { EngineError } from "../errors.ts";
import type { Executor } from "../runtime/executor.ts";
import type { FloatTensor, Tensor } from "../tensor/tensor.ts";
import type { DiffusionModel } from "./diffusion-model.ts";
import type { Phase, PipelineEvent } from "./events.ts";

/** Which part is called, for what. */
export interface ModelCall<Output extends string> {
  readonly executor: Pick<Executor, "run">;
  readonly model: DiffusionModel;
  readonly phase: Phase;
  /** The outputs to return. */
  readonly outputs: readonly Output[];
  readonly signal: AbortSignal | undefined;
}

/**
 * Calls a part and returns its outputs by their names.
 *
 * Errors: EngineError when an output holds NaN or infinity; it names the part, and the tensor if its weights hold one.
 */
export async function* callModel<const Output extends string>(
  call: ModelCall<Output>,
  inputs: Readonly<Record<string, Tensor>>,
): AsyncGenerator<PipelineEvent, Record<Output, FloatTensor>> {
  const run = call.executor.run(inputs, call.signal);
  const { phase } = call;
  try {
    for (;;) {
      const { done, value } = await run.next();
      if (!done) {
        yield { type: "segment", phase, part: call.model.part, ...value };
        continue;
      }
      const outputs = call.outputs.map((name) => [name, value[name] as FloatTensor] as const);
      if (!outputs.every(([, { data }]) => allFinite(data))) throw await explainNonFinite(call);
      return Object.fromEntries(outputs) as Record<Output, FloatTensor>;
    }
  } finally {
    // Whoever leaves the loop early leaves it in the middle of the run, which has programs and files to give back.
    await run.return({});
  }
}

function allFinite(values: Float32Array): boolean {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) return false;
  return true;
}

async function explainNonFinite({ model, signal }: ModelCall<string>): Promise<EngineError> {
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
