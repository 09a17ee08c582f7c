/**
 * The features of a picture between two layers, read and written by rows: what has to be kept of a picture that is worked on strip by strip.
 *
 * Where the rows are kept is an implementation's business: here in memory, in feature-map-node.ts in a file. All pass
 * feature-map.contract.ts.
 */
import { releasableFloats } from "../tensor/releasable.ts";
import type { MapShape } from "../tensor/tensor.ts";

/** Rows of features; what was never written is undefined. */
export interface FeatureMap extends MapShape {
  /** Copies the rows from `from` to before `to`; into [channels, to - from, width]. Errors: FileError. */
  read(from: number, to: number, into: Float32Array): Promise<void>;
  /** Replaces the rows from `from` to before `to` by [channels, to - from, width]. Errors: FileError. */
  write(from: number, to: number, rows: Float32Array): Promise<void>;
  /** Gives memory or file back; idempotent. */
  dispose(): Promise<void>;
}

/** Makes maps of one kind. Errors: FileError. */
export type OpenFeatureMap = (shape: MapShape) => Promise<FeatureMap>;

/** A map in memory, which is taken as rows are written. */
export const memoryFeatureMap: OpenFeatureMap = async ({ channels, height, width }) => {
  const { data, release } = releasableFloats(channels * height * width);
  const place = (channel: number, row: number) => (channel * height + row) * width;
  return {
    channels,
    height,
    width,
    async read(from, to, into) {
      const run = (to - from) * width;
      for (let c = 0; c < channels; c++) into.set(data.subarray(place(c, from), place(c, to)), c * run);
    },
    async write(from, to, rows) {
      const run = (to - from) * width;
      for (let c = 0; c < channels; c++) data.set(rows.subarray(c * run, (c + 1) * run), place(c, from));
    },
    async dispose() {
      release();
    },
  };
};
