import { expect, it } from "vitest";
import { collectGarbage } from "./memory-node.ts";

const SIZE = 64 * 2 ** 20;

it("gives back at once what was still in use at the collection before", () => {
  const before = process.memoryUsage().arrayBuffers;
  let values: Uint8Array | undefined = new Uint8Array(SIZE);
  collectGarbage();
  expect(values.byteLength).toBe(SIZE);
  expect(process.memoryUsage().arrayBuffers - before).toBeGreaterThan(SIZE / 2);
  values = undefined;
  collectGarbage();
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(SIZE / 2);
});
