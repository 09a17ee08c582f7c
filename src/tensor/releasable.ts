/**
 * Large arrays whose memory goes back at a moment of our choosing.
 *
 * An array that nobody refers to keeps its memory until the garbage collector comes by, which may be long after the next large one was
 * asked for: where the peak is planned, that is too late. A resizable buffer gives its pages back as it is cut to nothing.
 */

/** Float32 memory, zeros at first; pages that are never written take none. */
export interface ReleasableFloats {
  readonly data: Float32Array<ArrayBuffer>;
  /** Gives the memory back at once; `data` and all views of it are empty from then on. */
  release(): void;
}

/** What ES2024 calls a resizable buffer, which Node 20 has. */
interface ResizableBuffer extends ArrayBuffer {
  resize(newLengthBytes: number): void;
}
type ResizableBufferConstructor = new (lengthBytes: number, options: { maxByteLength: number }) => ResizableBuffer;

/** Takes memory for `length` numbers. */
export function releasableFloats(length: number): ReleasableFloats {
  const sizeBytes = length * Float32Array.BYTES_PER_ELEMENT;
  const buffer = new (ArrayBuffer as unknown as ResizableBufferConstructor)(sizeBytes, { maxByteLength: sizeBytes });
  return { data: new Float32Array(buffer, 0, length), release: () => buffer.resize(0) };
}

/**
 * Frees the buffer behind an ordinary array, which is empty from then on, where blocks come and go faster than the collector looks (T5-XXL
 * is quantized at 0.8 GB a second). Engines without ArrayBuffer.transfer (Node 20) leave it to the collector.
 */
export function releaseMemory({ buffer }: Uint8Array): void {
  (buffer as { transfer?: (newLength: number) => unknown }).transfer?.(0);
}
