/** What plots share: texts, rounded coordinates, colours. Plots are SVG without scripts or fonts of their own, on a white ground of theirs. */

/** Told apart by people who do not see red and green alike (Okabe and Ito). */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"] as const;

/** The colour of a series by its place; after the last comes the first. */
export function plotColour(place: number): string {
  return COLOURS[place % COLOURS.length] as string;
}

/** A picture's size in pixels, and what it shows, for those who do not see it. */
export interface SvgFrame {
  readonly width: number;
  readonly height: number;
  readonly title: string;
}

/** Puts elements into a picture. */
export function svgPicture({ width, height, title }: SvgFrame, elements: readonly string[]): string {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...elements,
    "</svg>",
    "",
  ].join("\n");
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: XML has no way to write them.
const CONTROL = /[\0-\x08\x0b\x0c\x0e-\x1f]/g;

/** A text whose line begins at (x, y), or ends or is centred there if the attributes say so. */
export function svgText(x: number, y: number, content: string, attributes = ""): string {
  return `<text x="${svgNumber(x)}" y="${svgNumber(y)}"${attributes && ` ${attributes}`}>${escaped(content)}</text>`;
}

function escaped(content: string): string {
  return content.replaceAll(CONTROL, "").replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** A coordinate, to a tenth of a pixel. */
export function svgNumber(value: number): number {
  return Math.round(value * 10) / 10;
}

/** Cuts a label that has no room. */
export function shortened(label: string, letters: number): string {
  return label.length > letters ? `${label.slice(0, letters - 1)}…` : label;
}
