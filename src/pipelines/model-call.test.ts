import { expect, test } from "vitest";
import type { DiffusionModel } from "./diffusion-model.ts";
import { callModel } from "./model-call.ts";

test("a call that is left in the middle ends its run, which gives back what it holds", async () => {
  let isHeld = false;
  const executor = {
    async *run() {
      isHeld = true;
      try {
        for (let done = 0; done < 3; done++) yield { done, total: 3 };
        return {};
      } finally {
        isHeld = false;
      }
    },
  };
  const model = { part: "vae" } as DiffusionModel;
  for await (const event of callModel({ executor, model, phase: "decode", outputs: [], signal: undefined }, {})) {
    expect([event.type, isHeld]).toEqual(["segment", true]);
    break;
  }
  expect(isHeld).toBe(false);
});
