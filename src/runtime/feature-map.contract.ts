/** What every kind of feature map must do; called by the tests of each implementation. */
import { expect, it } from "vitest";
import type { OpenFeatureMap } from "./feature-map.ts";

const SHAPE = { channels: 3, height: 7, width: 5 };

/** Runs the suite for one kind. */
export function testFeatureMap(open: () => OpenFeatureMap): void {
  const ramp = (rows: number, start: number) => Float32Array.from({ length: SHAPE.channels * rows * SHAPE.width }, (_, i) => start + i);
  const at = (rows: Float32Array, count: number, c: number, row: number) =>
    Array.from(rows.subarray((c * count + row) * SHAPE.width, (c * count + row + 1) * SHAPE.width));

  it("gives back the rows that were written, whatever the strips", async () => {
    const map = await open()(SHAPE);
    expect(map).toMatchObject(SHAPE);
    const [upper, lower] = [ramp(4, 0), ramp(3, 1000)];
    await map.write(4, 7, lower);
    await map.write(0, 4, upper);
    const middle = new Float32Array(SHAPE.channels * 4 * SHAPE.width);
    await map.read(2, 6, middle);
    for (let c = 0; c < SHAPE.channels; c++) {
      for (const row of [0, 1]) expect(at(middle, 4, c, row)).toEqual(at(upper, 4, c, row + 2));
      for (const row of [2, 3]) expect(at(middle, 4, c, row)).toEqual(at(lower, 3, c, row - 2));
    }
    await map.dispose();
  });

  it("replaces rows and leaves their neighbours", async () => {
    const map = await open()(SHAPE);
    const all = ramp(7, 0);
    const row = ramp(1, -500);
    await map.write(0, 7, all);
    await map.write(3, 4, row);
    const back = new Float32Array(all.length);
    await map.read(0, 7, back);
    for (let c = 0; c < SHAPE.channels; c++) {
      expect(at(back, 7, c, 3)).toEqual(at(row, 1, c, 0));
      expect(at(back, 7, c, 2)).toEqual(at(all, 7, c, 2));
      expect(at(back, 7, c, 4)).toEqual(at(all, 7, c, 4));
    }
    await map.dispose();
    await map.dispose();
  });
}
