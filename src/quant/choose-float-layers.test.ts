/** The choice of layers that stay float, on costs that can be summed by hand. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { chooseFloatLayers, sumOfSquares } from "./choose-float-layers.ts";

const layer = (name: string, error: number, savedBytes: number) => ({ name, error, savedBytes });

describe("layers to keep float", () => {
  test("none, where the error is small enough", () => {
    expect(chooseFloatLayers([layer("a", 3, 10), layer("b", 4, 10)], 25)).toEqual([]);
  });

  test("the one with most error a byte first", () => {
    expect(chooseFloatLayers([layer("a", 3, 1000), layer("b", 2, 1), layer("c", 1, 1000)], 10)).toEqual(["b"]);
  });

  test("given back, where a larger one that follows makes it unnecessary", () => {
    // By error a byte: small (1), then large (0.09). Without large 1 is left, which is enough.
    expect(chooseFloatLayers([layer("small", 1, 1), layer("large", 3, 100)], 1)).toEqual(["large"]);
  });

  test("all, where nothing less will do; a layer without error never", () => {
    expect(chooseFloatLayers([layer("a", 3, 10), layer("b", 0, 10), layer("c", 1, 10)], 0)).toEqual(["a", "c"]);
  });

  test("a layer that grows when it is quantized costs nothing to keep", () => {
    expect(chooseFloatLayers([layer("a", 2, 100), layer("b", 1.9, -4)], 4)).toEqual(["b"]);
  });

  test("always keep the rest within the limit, and none of them is unnecessary", () => {
    const costs = fc.array(
      fc.record({ error: fc.double({ min: 0, max: 10, noNaN: true }), savedBytes: fc.integer({ min: -5, max: 1e6 }) }),
    );
    fc.assert(
      fc.property(costs, fc.double({ min: 0, max: 300, noNaN: true }), (drawn, limit) => {
        const layers = drawn.map((cost, i) => ({ ...cost, name: `${i}` }));
        const chosen = new Set(chooseFloatLayers(layers, limit));
        const left = (without?: string) => sumOfSquares(layers.filter(({ name }) => !chosen.has(name) || name === without));
        expect(left()).toBeLessThanOrEqual(limit);
        for (const name of chosen) expect(left(name)).toBeGreaterThan(limit);
      }),
    );
  });
});
