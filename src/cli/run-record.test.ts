import { expect, test } from "vitest";
import type { PipelineEvent } from "../index.ts";
import { RunRecord } from "./run-record.ts";

test("a record holds the bytes that are used, the time of quantizing and of each step", () => {
  let ms = 0;
  const record = new RunRecord(() => ms);
  const at = (time: number, event: object) => {
    ms = time;
    record.note(event as PipelineEvent);
  };
  at(0, { type: "load", part: "transformer", className: "T", weightBytes: 100 });
  at(1, { type: "load", part: "vae", className: "V", weightBytes: 7 });
  at(1000, { type: "freeze", part: "transformer", storedBytes: 100, frozenBytes: undefined });
  at(3500, { type: "freeze", part: "transformer", storedBytes: 100, frozenBytes: 50 });
  at(4000, { type: "step", seconds: 0.5 });
  at(4500, { type: "step", seconds: 0.25 });
  expect(record.weightBytes).toEqual({ transformer: 50, vae: 7 });
  expect(record.frozen).toEqual([{ part: "transformer", storedBytes: 100, frozenBytes: 50 }]);
  expect(record.quantizeSeconds).toBe(2.5);
  expect(record.stepSeconds).toEqual([0.5, 0.25]);
});
