/** The plot's marks where they belong. */
import { expect, test } from "vitest";
import { linePlot } from "./line-plot.ts";

const texts = { title: "error", x: "step" };
const paths = (svg: string) => Array.from(svg.matchAll(/<path d="([^"]*)"/g), ([, path]) => path);

test("curves lie between whole powers of ten, one step after the other", () => {
  const svg = linePlot([{ label: "qint8", values: [0.001, 0.01, 0.1] }], texts);
  expect(paths(svg)).toEqual(["M64 316L257 178L450 40"]);
  expect(Array.from(svg.matchAll(/>([\d.]+ %)</g), ([, label]) => label)).toEqual(["0.1 %", "1 %", "10 %"]);
});

test("what has no logarithm leaves a gap", () => {
  const svg = linePlot([{ label: "a", values: [0.01, 0, 0.1, 0.1] }], texts);
  expect(paths(svg)[0]?.match(/[ML]/g)).toEqual(["M", "M", "L"]);
});

test("equal pictures and a single step give a plot all the same", () => {
  for (const values of [[0, 0], [], [1], [0.5]]) expect(linePlot([{ label: "a", values }], texts)).not.toMatch(/NaN|Infinity/);
});

test("labels cannot break out of the text", () => {
  expect(linePlot([{ label: "a<b>&", values: [1] }], texts)).toContain("a&lt;b&gt;&amp;");
});
