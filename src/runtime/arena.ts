/**
 * onnxruntime's arena, played through with sizes alone: how many bytes of it have ever been touched, which is what the system counts.
 *
 * The arena takes regions of powers of two from the system, growing up to 1 GiB, and gives none back; a request gets the smallest free chunk
 * that is large enough, which is split if it is twice as large. Pages that were never handed out cost nothing.
 * Source: microsoft/onnxruntime@1.30 core/framework/bfc_arena.cc with the options of the CPU provider.
 */

const SMALLEST = 256;
const FIRST_REGION = 2 ** 20;
const MOST_DEAD_BYTES = 128 * 2 ** 20;
/** Regions double up to this size; a larger request gets one of the power of two above it. */
const LARGEST_DOUBLED_REGION = 2 ** 30;

/** A piece of a region. */
export interface Chunk {
  readonly region: Region;
  readonly start: number;
  sizeBytes: number;
  isFree: boolean;
  previous: Chunk | undefined;
  next: Chunk | undefined;
}

interface Region {
  readonly index: number;
  readonly sizeBytes: number;
  /** Ranges that have been handed out, sorted and apart. */
  touched: (readonly [number, number])[];
}

/** An arena without memory. */
export class Arena {
  #nextRegionBytes = FIRST_REGION;
  readonly #regions: Region[] = [];
  readonly #free = new Set<Chunk>();

  /** Hands out a chunk. */
  allocate(sizeBytes: number): Chunk {
    const rounded = Math.ceil(Math.max(1, sizeBytes) / SMALLEST) * SMALLEST;
    const chunk = this.#smallestFit(rounded) ?? this.#extend(rounded);
    this.#free.delete(chunk);
    if (chunk.sizeBytes >= 2 * rounded || chunk.sizeBytes - rounded >= MOST_DEAD_BYTES) this.#split(chunk, rounded);
    chunk.isFree = false;
    touch(chunk.region, chunk.start, chunk.start + sizeBytes);
    return chunk;
  }

  /** Takes a chunk back and joins it with free neighbours. */
  release(chunk: Chunk): void {
    chunk.isFree = true;
    let merged = chunk;
    if (chunk.previous?.isFree) merged = this.#join(chunk.previous, chunk);
    if (merged.next?.isFree) merged = this.#join(merged, merged.next);
    this.#free.add(merged);
  }

  /** Bytes of all regions, whether they were ever handed out or not. */
  get heldBytes(): number {
    return this.#regions.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  /** Bytes that have ever been handed out, each counted once. */
  get touchedBytes(): number {
    return this.#regions.flatMap(({ touched }) => touched).reduce((sum, [start, end]) => sum + end - start, 0);
  }

  #smallestFit(sizeBytes: number): Chunk | undefined {
    let best: Chunk | undefined;
    for (const chunk of this.#free) {
      if (chunk.sizeBytes < sizeBytes) continue;
      if (best === undefined || chunk.sizeBytes < best.sizeBytes || (chunk.sizeBytes === best.sizeBytes && isBefore(chunk, best)))
        best = chunk;
    }
    return best;
  }

  #extend(sizeBytes: number): Chunk {
    let grew = false;
    while (sizeBytes > this.#nextRegionBytes) {
      this.#nextRegionBytes *= 2;
      grew = true;
    }
    const region: Region = { index: this.#regions.length, sizeBytes: this.#nextRegionBytes, touched: [] };
    this.#regions.push(region);
    const chunk: Chunk = { region, start: 0, sizeBytes: region.sizeBytes, isFree: true, previous: undefined, next: undefined };
    if (!grew) this.#nextRegionBytes = Math.min(2 * this.#nextRegionBytes, LARGEST_DOUBLED_REGION);
    return chunk;
  }

  #split(chunk: Chunk, sizeBytes: number): void {
    const rest: Chunk = {
      region: chunk.region,
      start: chunk.start + sizeBytes,
      sizeBytes: chunk.sizeBytes - sizeBytes,
      isFree: true,
      previous: chunk,
      next: chunk.next,
    };
    if (chunk.next !== undefined) chunk.next.previous = rest;
    chunk.next = rest;
    chunk.sizeBytes = sizeBytes;
    this.#free.add(rest);
  }

  #join(left: Chunk, right: Chunk): Chunk {
    this.#free.delete(left);
    this.#free.delete(right);
    left.sizeBytes += right.sizeBytes;
    left.next = right.next;
    if (right.next !== undefined) right.next.previous = left;
    return left;
  }
}

/** Where the system puts regions is not known: later ones lie lower, as mapped memory does. */
function isBefore(a: Chunk, b: Chunk): boolean {
  return a.region === b.region ? a.start < b.start : a.region.index > b.region.index;
}

function touch(region: Region, start: number, end: number): void {
  const apart = region.touched.filter(([from, to]) => to < start || from > end);
  const joined = region.touched.filter(([from, to]) => to >= start && from <= end);
  const from = Math.min(start, ...joined.map(([first]) => first));
  const to = Math.max(end, ...joined.map(([, last]) => last));
  region.touched = [...apart, [from, to] as const].sort(([a], [b]) => a - b);
}
