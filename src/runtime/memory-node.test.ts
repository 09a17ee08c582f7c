import { expect, it, vi } from "vitest";
import { collectGarbage } from "./memory-node.ts";

const SIZE = 64 * 2 ** 20;

it("gives back at once what was still in use at the collection before", async () => {
  const before = process.memoryUsage().arrayBuffers;
  // Held and looked at in other frames, whose registers are gone when it is dropped.
  const held: Uint8Array[] = [];
  const hold = () => held.push(new Uint8Array(SIZE));
  const heldBytes = () => held.reduce((sum, { byteLength }) => sum + byteLength, 0);
  hold();
  collectGarbage();
  expect(heldBytes()).toBe(SIZE);
  expect(process.memoryUsage().arrayBuffers - before).toBeGreaterThan(SIZE / 2);
  held.length = 0;
  collectGarbage();
  // A thread of V8's own counts it as given back.
  await vi.waitFor(() => expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(SIZE / 2));
});
