/**
 * A small line plot as SVG: some curves over the steps of a run, on a scale of powers of ten. For reports; text and lines alone, no script.
 */
import { plotColour, shortened, svgNumber, svgPicture, svgText } from "./svg.ts";

/** A curve; values that are not above 0 leave a gap. */
export interface Curve {
  readonly label: string;
  /** One for each step, from step 1. */
  readonly values: readonly number[];
}

/** What stands around the curves. */
export interface PlotTexts {
  readonly title: string;
  readonly x: string;
}

const WIDTH = 640;
const HEIGHT = 360;
const LEFT = 64;
const TOP = 40;
const BOTTOM = 44;
/** For the legend. */
const RIGHT = 190;

/** Draws curves; an empty plot where no value is above 0. */
export function linePlot(curves: readonly Curve[], texts: PlotTexts): string {
  const values = curves.flatMap((curve) => curve.values).filter((value) => value > 0 && Number.isFinite(value));
  const steps = Math.max(1, ...curves.map((curve) => curve.values.length));
  const low = Math.floor(Math.log10(Math.min(...values, 1)));
  const high = Math.max(low + 1, Math.ceil(Math.log10(values.length === 0 ? 1 : Math.max(...values))));
  const x = (step: number) => LEFT + ((WIDTH - LEFT - RIGHT) * step) / Math.max(1, steps - 1);
  const y = (value: number) => TOP + ((HEIGHT - TOP - BOTTOM) * (high - Math.log10(value))) / (high - low);
  const decades = Array.from({ length: high - low + 1 }, (_, i) => low + i);
  return svgPicture({ width: WIDTH, height: HEIGHT, title: texts.title }, [
    svgText(LEFT, 22, texts.title, 'font-size="14"'),
    ...decades.flatMap((power) => [
      `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${svgNumber(y(10 ** power))}" y2="${svgNumber(y(10 ** power))}" stroke="#ddd"/>`,
      svgText(LEFT - 8, y(10 ** power) + 4, shareText(power), 'text-anchor="end"'),
    ]),
    svgText(LEFT, HEIGHT - 24, "1", 'text-anchor="middle"'),
    ...(steps > 1 ? [svgText(x(steps - 1), HEIGHT - 24, String(steps), 'text-anchor="middle"')] : []),
    svgText((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, texts.x, 'text-anchor="middle"'),
    ...curves.flatMap((curve, i) => drawCurve(curve, plotColour(i), i, x, y)),
  ]);
}

function drawCurve(curve: Curve, colour: string, place: number, x: (step: number) => number, y: (value: number) => number): string[] {
  let isDown = false;
  const path = curve.values.map((value, step) => {
    const isShown = value > 0 && Number.isFinite(value);
    const command = isShown ? `${isDown ? "L" : "M"}${svgNumber(x(step))} ${svgNumber(y(value))}` : "";
    isDown = isShown;
    return command;
  });
  const top = TOP + 18 * place;
  return [
    // Round ends show a curve of a single step as a dot.
    `<path d="${path.join("")}" fill="none" stroke="${colour}" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/>`,
    `<rect x="${WIDTH - RIGHT + 12}" y="${top}" width="12" height="4" fill="${colour}"/>`,
    svgText(WIDTH - RIGHT + 30, top + 6, shortened(curve.label, 24)),
  ];
}

/** 10^power as a share: 0.01 is 1 %. */
function shareText(power: number): string {
  return `${power >= -2 ? 10 ** (power + 2) : (10 ** (power + 2)).toFixed(-power - 2)} %`;
}
