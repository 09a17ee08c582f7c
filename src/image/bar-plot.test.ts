/** The bars where they belong. */
import { expect, test } from "vitest";
import { axisTicks, barPlot } from "./bar-plot.ts";

const texts = { title: "time", axis: "seconds" };
const boxes = (svg: string) =>
  Array.from(svg.matchAll(/<rect x="280" y="([\d.]+)" width="([\d.]+)"/g), ([, y, width]) => [Number(y), Number(width)]);

test("bars begin at the axis and are as long as their values, group after group", () => {
  const bar = (series: string, value: number) => ({ series, value, note: "" });
  const svg = barPlot(
    [
      { label: "none", bars: [bar("halftone", 5), bar("peer", 10)] },
      { label: "qint8", bars: [bar("halftone", 2.5)] },
    ],
    texts,
  );
  // The axis is 470 pixels long and ends at 10; two lines of legend stand above.
  expect(boxes(svg)).toEqual([
    [83, 235],
    [97, 470],
    [123, 117.5],
  ]);
  expect(Array.from(svg.matchAll(/fill="(#[0-9a-f]{6})"/g), ([, colour]) => colour)).toEqual([
    "#0072b2",
    "#d55e00",
    "#0072b2",
    "#d55e00",
    "#0072b2",
  ]);
});

test("a paler part, a range and a note", () => {
  const svg = barPlot([{ label: "a", bars: [{ series: "s", value: 4, outer: 8, range: [3, 5], note: "4 / 8" }] }], texts);
  expect(boxes(svg).map(([, width]) => width)).toEqual([470, 235]);
  expect(svg).toContain('<path d="M456.3 68V74M456.3 71H573.8M573.8 68V74"');
  // Behind the longest of them.
  expect(svg).toContain('<text x="756" y="75">4 / 8</text>');
});

test("a second line stands below the first, both beside the middle of the group", () => {
  const svg = barPlot([{ label: "qint8", detail: "4 images", bars: [{ series: "s", value: 1, note: "" }] }], texts);
  expect(Array.from(svg.matchAll(/y="([\d.]+)" text-anchor="end">([^<]*)/g), ([, y, line]) => [Number(y), line])).toEqual([
    [68.5, "qint8"],
    [81.5, "4 images"],
  ]);
});

test("what could not be measured says so where its bar would be", () => {
  const svg = barPlot([{ label: "a", bars: [{ series: "s", value: undefined, note: "out <of> memory" }] }], texts);
  expect(boxes(svg)).toEqual([]);
  expect(svg).toContain(">out &lt;of&gt; memory</text>");
});

test("equal runs have no range, and nothing at all is a plot too", () => {
  expect(barPlot([{ label: "a", bars: [{ series: "s", value: 1, range: [1, 1], note: "" }] }], texts)).not.toContain("<path");
  expect(barPlot([], texts)).not.toMatch(/NaN|Infinity/);
  expect(barPlot([{ label: "a", bars: [{ series: "s", value: 0, note: "" }] }], texts)).not.toMatch(/NaN|Infinity/);
});

test.each<[largest: number, ticks: number[]]>([
  [10, [0, 2, 4, 6, 8, 10]],
  [6, [0, 1, 2, 3, 4, 5, 6]],
  [6.1, [0, 2, 4, 6, 8]],
  [0.25, [0, 0.05, 0.1, 0.15, 0.2, 0.25]],
  [1234, [0, 500, 1000, 1500]],
  [0, [0, 1]],
])("round numbers up to %d", (largest, ticks) => {
  expect(axisTicks(largest)).toEqual(ticks);
});
