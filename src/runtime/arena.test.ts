import { expect, it } from "vitest";
import { Arena } from "./arena.ts";

const MIB = 2 ** 20;

/** Requests in MiB, and what onnxruntime 1.30 said that its arena held after each (`mem_arena_held` of its profile; none was given back). */
const PROFILED: [requests: number[], held: number[]][] = [
  [
    [192, 512, 2560, 320, 1536],
    [256, 768, 4864, 4864, 8960],
  ],
  [
    [576, 512, 1920, 320, 1088, 192],
    [1024, 2048, 4096, 4096, 6144, 6144],
  ],
];

it.each(PROFILED)("takes regions as the engine does for %j MiB", (requests, held) => {
  const arena = new Arena();
  const found = requests.map((size) => {
    arena.allocate(size * MIB);
    return arena.heldBytes / MIB;
  });
  expect(found).toEqual(held);
});

it("counts what was handed out once, however often", () => {
  const arena = new Arena();
  arena.release(arena.allocate(3 * MIB));
  arena.release(arena.allocate(2 * MIB));
  expect(arena.touchedBytes).toBe(3 * MIB);
  arena.allocate(1 * MIB);
  arena.allocate(3 * MIB);
  expect(arena.touchedBytes).toBe(4 * MIB);
});
