/**
 * Cuts text into grapheme clusters (what a reader sees as one character), in time that grows with its length alone.
 *
 * Intl.Segmenter over one string of 200,000 characters takes a minute (V8 11.3: the square of the length), windows of 256 take 0.1 s. A
 * window's last cluster may go on behind it, so the next window begins there; one that fills its window alone makes the window grow.
 */

const WINDOW = 256;
/** Made when it is first needed, which takes 7 ms. */
let segmenter: Intl.Segmenter | undefined;

/** Yields the grapheme clusters of a text, in order. */
export function* graphemesOf(text: string): Generator<string> {
  // Of printable ASCII, as most prompts are, each letter is a cluster.
  if (/^[\x20-\x7e]*$/.test(text)) {
    yield* text;
    return;
  }
  segmenter ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  let start = 0;
  let size = WINDOW;
  while (start < text.length) {
    const end = windowEnd(text, start + size);
    const part = text.slice(start, end);
    let pending: { readonly segment: string; readonly index: number } | undefined;
    for (const cluster of segmenter.segment(part)) {
      if (pending !== undefined) yield pending.segment;
      pending = cluster;
    }
    const { segment, index } = pending as { segment: string; index: number };
    if (end === text.length) {
      yield segment;
      return;
    }
    start += index;
    size = index === 0 ? size * 2 : WINDOW;
  }
}

/** Half a character at a window's end would read as a cluster of its own and end the one before it. */
function windowEnd(text: string, end: number): number {
  if (end >= text.length) return text.length;
  return /[\ud800-\udbff]/.test(text[end - 1] as string) ? end + 1 : end;
}
