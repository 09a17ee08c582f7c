/**
 * Horizontal bars as SVG, in groups: what is compared lies next to each other, and labels have room. A bar may go on paler (what is part of
 * a wider figure) and may carry the range of its runs.
 */
import { plotColour, shortened, svgNumber, svgPicture, svgText } from "./svg.ts";

/** One bar. */
export interface Bar {
  /** What it is a bar of, in the legend: bars of one series have one colour. */
  readonly series: string;
  /** Undefined for one that could not be measured: its note stands where the bar would be. */
  readonly value: number | undefined;
  /** Where the paler part ends, from the same zero. */
  readonly outer?: number | undefined;
  /** Smallest and largest of the runs. */
  readonly range?: readonly [min: number, max: number] | undefined;
  /** What stands behind the bar. */
  readonly note: string;
}

/** Bars that belong together. */
export interface BarGroup {
  readonly label: string;
  /** A second line. */
  readonly detail?: string | undefined;
  readonly bars: readonly Bar[];
}

/** What stands around the bars. */
export interface BarTexts {
  readonly title: string;
  /** Says what values are, with the unit. */
  readonly axis: string;
}

const WIDTH = 900;
const LEFT = 280;
/** For the notes behind the longest bars. */
const RIGHT = 150;
const BAR = 14;
const GROUP_GAP = 12;
const LEGEND_LINE = 18;
const TEXT_LINE = 13;
const BOTTOM = 44;
const LABEL_LETTERS = 42;
const NOTE_LETTERS = 80;
const MOST_TICKS = 6;

/** Draws bars from 0 on. */
export function barPlot(groups: readonly BarGroup[], texts: BarTexts): string {
  const series = [...new Set(groups.flatMap(({ bars }) => bars.map((bar) => bar.series)))];
  const top = 40 + LEGEND_LINE * series.length;
  const heights = groups.map(({ bars }) => bars.length * BAR + GROUP_GAP);
  const bottom = top + heights.reduce((total, height) => total + height, 0);
  const ticks = axisTicks(Math.max(0, ...groups.flatMap(({ bars }) => bars.flatMap(extentOf))));
  const x = (value: number) => LEFT + ((WIDTH - LEFT - RIGHT) * value) / (ticks.at(-1) ?? 1);
  const elements = [
    svgText(12, 22, texts.title, 'font-size="14"'),
    ...series.flatMap((name, i) => [
      `<rect x="12" y="${36 + LEGEND_LINE * i}" width="12" height="10" fill="${plotColour(i)}"/>`,
      svgText(30, 45 + LEGEND_LINE * i, name),
    ]),
    ...ticks.flatMap((tick) => [
      `<line x1="${svgNumber(x(tick))}" x2="${svgNumber(x(tick))}" y1="${top}" y2="${bottom}" stroke="#ddd"/>`,
      svgText(x(tick), bottom + 16, String(tick), 'text-anchor="middle"'),
    ]),
    svgText((LEFT + WIDTH - RIGHT) / 2, bottom + 36, texts.axis, 'text-anchor="middle"'),
  ];
  let y = top;
  for (const [i, { label, detail, bars }] of groups.entries()) {
    const lines = detail === undefined ? [label] : [label, detail];
    const middle = y + (bars.length * BAR + GROUP_GAP) / 2;
    elements.push(...lines.map((line, at) => labelText(line, middle + 4 + TEXT_LINE * (at - (lines.length - 1) / 2))));
    for (const [j, bar] of bars.entries()) {
      elements.push(...drawBar(bar, plotColour(series.indexOf(bar.series)), y + GROUP_GAP / 2 + j * BAR, x));
    }
    y += heights[i] ?? 0;
  }
  return svgPicture({ width: WIDTH, height: bottom + BOTTOM, title: texts.title }, elements);
}

function labelText(line: string, y: number): string {
  return svgText(LEFT - 8, y, shortened(line, LABEL_LETTERS), 'text-anchor="end"');
}

function drawBar({ value, outer, range, note }: Bar, colour: string, y: number, x: (value: number) => number): string[] {
  const noteAt = (from: number) => svgText(x(from) + 6, y + 11, shortened(note, NOTE_LETTERS));
  if (value === undefined) return [noteAt(0)];
  const box = (end: number, opacity: string) =>
    `<rect x="${LEFT}" y="${svgNumber(y + 1)}" width="${svgNumber(x(end) - LEFT)}" height="${BAR - 2}" fill="${colour}"${opacity}/>`;
  const middle = svgNumber(y + BAR / 2);
  const whisker = range === undefined || range[0] === range[1] ? [] : [whiskerPath(x(range[0]), x(range[1]), middle)];
  const end = Math.max(...extentOf({ value, outer, range }));
  return [...(outer === undefined ? [] : [box(outer, ' fill-opacity="0.35"')]), box(value, ""), ...whisker, noteAt(end)];
}

function whiskerPath(from: number, to: number, y: number): string {
  const [a, b] = [svgNumber(from), svgNumber(to)];
  return `<path d="M${a} ${y - 3}V${y + 3}M${a} ${y}H${b}M${b} ${y - 3}V${y + 3}" fill="none" stroke="#000"/>`;
}

/** Everything that has to fit beside the axis. */
function extentOf({ value, outer, range }: Pick<Bar, "value" | "outer" | "range">): number[] {
  return [value, outer, range?.[1]].filter((end) => end !== undefined);
}

/** Round numbers from 0 to at least the largest value: steps of 1, 2 or 5 times a power of ten. */
export function axisTicks(largest: number): number[] {
  if (!(largest > 0)) return [0, 1];
  const power = 10 ** Math.floor(Math.log10(largest / MOST_TICKS));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => Math.ceil(largest / size) <= MOST_TICKS) ?? 10 * power;
  // Sums of tenths are not round.
  return Array.from({ length: Math.ceil(largest / step) + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}
