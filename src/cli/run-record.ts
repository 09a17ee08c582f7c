/** What the events of a run say of it: pictures, report, and what was read and quantized, with its time. Pure: events and a clock in. */
import type { GeneratedImage, PipelineEvent, RunReport } from "../index.ts";
import type { FrozenPart } from "./summary.ts";

/** Follows one run. */
export class RunRecord {
  readonly images: GeneratedImage[] = [];
  readonly frozen: FrozenPart[] = [];
  readonly stepSeconds: number[] = [];
  /** Bytes of each part's weights as they are used. */
  readonly weightBytes: Record<string, number> = {};
  quantizeSeconds = 0;
  report: RunReport | undefined;
  readonly #now: () => number;
  #freezeStarted = 0;

  /** `now` counts milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Takes an event in. */
  note(event: PipelineEvent): void {
    switch (event.type) {
      case "load":
        this.weightBytes[event.part] = event.weightBytes;
        break;
      case "freeze":
        this.#noteFreeze(event);
        break;
      case "step":
        this.stepSeconds.push(event.seconds);
        break;
      case "image":
        this.images.push(event.image);
        break;
      case "summary":
        this.report = event.report;
        break;
    }
  }

  #noteFreeze({ part, storedBytes, frozenBytes }: Extract<PipelineEvent, { type: "freeze" }>): void {
    if (frozenBytes === undefined) {
      this.#freezeStarted = this.#now();
      return;
    }
    this.quantizeSeconds += (this.#now() - this.#freezeStarted) / 1000;
    this.weightBytes[part] = frozenBytes;
    this.frozen.push({ part, storedBytes, frozenBytes });
  }
}
