import { describe, expect, it, onTestFinished } from "vitest";
import { fixturePath } from "../../test/support/fixture.ts";
import { finish } from "../runtime/executor.ts";
import type { FloatTensor } from "../tensor/tensor.ts";
import { encodeWithT5, t5SizeOf } from "./encode-t5.ts";
import { openPipeline } from "./open-pipeline.ts";

/** Texts of 9, 1 and 4 tokens. */
const TEXTS = [[3, 17, 5, 40, 8, 9, 21, 33, 1], [1], [12, 6, 30, 1]];

describe("texts of different lengths", () => {
  it("are one sequence without padding; a batch where they are equally long", () => {
    expect(t5SizeOf([300, 1])).toEqual({ batch: 1, tokens: 301, isPacked: true });
    expect(t5SizeOf([20, 20])).toEqual({ batch: 2, tokens: 20 });
    expect(t5SizeOf([7])).toEqual({ batch: 1, tokens: 7 });
  });

  it.each([
    ["tiny", "right"],
    ["auraflow", "left"],
  ])("are encoded as each is alone, with zeros for padding: %s", async (name, side) => {
    const { parts, own } = await openPipeline(fixturePath(`pipelines/${name}`), { threads: 1 });
    onTestFinished(async () => {
      for (const model of own) await model.dispose();
    });
    const encode = (texts: readonly (readonly number[])[], length: number): Promise<FloatTensor> => {
      const padding = (ids: readonly number[]) => Array<number>(length - ids.length).fill(0);
      const inPlace = (ids: readonly number[], rest: readonly number[]) => (side === "left" ? [...rest, ...ids] : [...ids, ...rest]);
      const tokens = texts.map((ids) => ({
        ids: inPlace(ids, padding(ids)),
        mask: inPlace(
          ids.map(() => 1),
          padding(ids),
        ),
      }));
      return finish(encodeWithT5(parts, "text_encoder", tokens, undefined));
    };
    const together = await encode(TEXTS, 9);
    const width = together.shape[2] as number;
    expect(together.shape).toEqual([3, 9, width]);
    for (const [i, ids] of TEXTS.entries()) {
      const alone = await encode([ids], ids.length);
      const rows = together.data.subarray(i * 9 * width, (i + 1) * 9 * width);
      const first = side === "left" ? (9 - ids.length) * width : 0;
      const text = rows.subarray(first, first + ids.length * width);
      const worst = Math.max(...text.map((value, at) => Math.abs(value - (alone.data[at] as number))));
      expect(worst).toBeLessThan(1e-5);
      const padding = [...rows.subarray(0, first), ...rows.subarray(first + text.length)];
      expect(padding.every((value) => value === 0)).toBe(true);
    }
  });
});
