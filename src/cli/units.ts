/** Numbers as people read them: 310 MB (1000 x 1000 bytes), 4.9 M, 0.81 s, 3 min 20 s. And texts that cannot steer the terminal. */

/** Bytes in units of 1000. */
export function bytesText(bytes: number): string {
  return scaled(bytes, ["B", "kB", "MB", "GB", "TB"]);
}

/** A count in thousands, millions, ... */
export function countText(count: number): string {
  return scaled(count, ["", "K", "M", "B", "T"]).trim();
}

/** Seconds; minutes and hours where that reads better. */
export function secondsText(seconds: number): string {
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 99.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A share as a percentage with three digits. */
export function percentText(share: number): string {
  const percent = 100 * share;
  const digits = percent === 0 ? 0 : 2 - Math.floor(Math.log10(percent));
  return `${percent.toFixed(Math.min(6, Math.max(0, digits)))} %`;
}

/** Makes control characters visible: a text from a file must not move the cursor or change colours. */
export function visibleText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (letter) => {
    return letter === "\n" ? "\\n" : `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/** Three digits and a unit. */
function scaled(value: number, units: readonly string[]): string {
  let unit = 0;
  let rest = value;
  while (rest >= 999.5 && unit < units.length - 1) {
    rest /= 1000;
    unit++;
  }
  const digits = unit === 0 || rest >= 99.95 ? 0 : rest >= 9.995 ? 1 : 2;
  return `${rest.toFixed(digits)} ${units[unit]}`;
}
