/**
 * Every error that halftone throws on purpose.
 *
 * An error is one sentence (subject, expected, got), then `where` it was found, then a `hint` if a fix is known. The command line prints
 * the three on lines of their own; `message` alone is the sentence. The class says how a caller should react.
 */

/** What an error knows beside its sentence. */
export interface ErrorDetails {
  /** File, address or tensor in which the fault was found. */
  where?: string | undefined;
  /** What the user can do about it. */
  hint?: string | undefined;
  /** The error underneath, kept for `--debug`. */
  cause?: unknown;
}

/** Base of all errors thrown on purpose; anything else that escapes is a defect in halftone. */
export class HalftoneError extends Error {
  readonly where: string | undefined;
  readonly hint: string | undefined;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.where = details.where;
    this.hint = details.hint;
  }
}

/** An argument, option or call order is wrong: change the call; retrying cannot help. The command line exits with 2. */
export class UsageError extends HalftoneError {}

/** A checkpoint's file is missing, damaged or contradicts its config: get the file again or another checkpoint. */
export class CheckpointError extends HalftoneError {}

/** A checkpoint is sound but asks for something that halftone does not do: the message names it. */
export class UnsupportedError extends HalftoneError {}

/** A download failed: the message says whether trying again, a token or a licence helps. */
export class DownloadError extends HalftoneError {}

/** A file could not be written or read (disk full, no permission, a folder in the way). */
export class FileError extends HalftoneError {}

/** The engine failed or produced numbers that cannot be right (NaN): the message names the part. */
export class EngineError extends HalftoneError {}

/** The caller's AbortSignal stopped the work; everything it held has been released. */
export class CancelledError extends HalftoneError {}

/**
 * Returns the known word nearest to a misspelt one, or undefined if none is near (more than a third of its letters differ).
 */
export function nearestWord(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(word.length / 3)) + 1;
  // Names may come from a hostile file: a hint is not worth seconds.
  let letters = MOST_LETTERS_COMPARED;
  for (const candidate of known) {
    if (Math.abs(candidate.length - word.length) >= bestDistance) continue;
    letters -= word.length * candidate.length;
    if (letters < 0) break;
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

const MOST_LETTERS_COMPARED = 2e7;

/** Letters to insert, delete, replace or swap with their neighbour. */
function editDistance(a: string, b: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      const isSwap = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      const swap = isSwap ? (beforePrevious[j - 2] as number) + 1 : Number.POSITIVE_INFINITY;
      row.push(Math.min((previous[j] as number) + 1, (row[j - 1] as number) + 1, substitution, swap));
    }
    beforePrevious = previous;
    previous = row;
  }
  return previous[b.length] as number;
}

/** A class with its article, for messages: "a UMT5EncoderModel", "an AuraFlowPipeline". */
export function withArticle(className: string): string {
  return `${/^[AEIO]/.test(className) ? "an" : "a"} ${className}`;
}
