/**
 * Says in a line where a run is: phase, step, seconds per step, time left, memory. Pure: events and a clock in, text out.
 */
import type { BenchEvent, CompareEvent, PipelineEvent, QuantizeEvent } from "../index.ts";
import { bytesText, secondsText } from "./units.ts";

/** Whatever takes so long that it is shown. */
export type ShownEvent = PipelineEvent | QuantizeEvent | CompareEvent | BenchEvent;

/** What an event means for the terminal. */
export interface ProgressLine {
  readonly text: string;
  /** Whether the line tells of something that has ended, so that it is worth keeping. */
  readonly isMilestone: boolean;
}

/** Steps whose mean predicts the next. */
const RECENT_STEPS = 5;

/** Follows one run. */
export class ProgressText {
  readonly #residentBytes: () => number;
  readonly #now: () => number;
  #stepSeconds: number[] = [];
  #step = 0;
  #steps = 0;
  #quantizing: { readonly part: string; readonly ms: number; readonly bytes: number } | undefined;
  /** What a comparison is at. */
  #comparing: { readonly text: string; readonly work: string; readonly ms: number } | undefined;
  #benchStartedMs: number | undefined;
  #downloadStarted: { readonly ms: number; readonly bytes: number } | undefined;

  /** `now` counts milliseconds. */
  constructor(residentBytes: () => number, now: () => number) {
    this.#residentBytes = residentBytes;
    this.#now = now;
  }

  /** Returns the line for an event, or undefined if it has none. */
  next(event: ShownEvent): ProgressLine | undefined {
    if (event.type === "compare") return this.#compare(event);
    if (event.type === "bench") return this.#bench(event);
    const line = this.#line(event);
    // In a comparison only its own lines are worth keeping.
    return line === undefined || this.#comparing === undefined
      ? line
      : { text: join([this.#comparing.text, line.text]), isMilestone: false };
  }

  #line(event: PipelineEvent | QuantizeEvent): ProgressLine | undefined {
    switch (event.type) {
      case "download":
        return { text: this.#download(event), isMilestone: event.receivedBytes === event.totalBytes };
      case "load":
        return { text: `load ${event.part} (${event.className}, ${bytesText(event.weightBytes)})`, isMilestone: true };
      case "freeze":
        return { text: freezeText(event), isMilestone: true };
      case "quantize":
        return { text: this.#quantize(event), isMilestone: event.doneBytes === event.totalBytes };
      case "segment":
        return { text: this.#segment(event), isMilestone: false };
      case "step":
        return { text: this.#afterStep(event), isMilestone: false };
      case "phase": {
        const { phase, seconds, peakResidentBytes } = event.report;
        return { text: join([`${phase} done in ${secondsText(seconds)}`, memory("peak", peakResidentBytes)]), isMilestone: true };
      }
      case "warning":
      case "image":
      case "summary":
        return undefined;
      default:
        return event satisfies never;
    }
  }

  #download(event: Extract<PipelineEvent, { type: "download" }>): string {
    const { file, overallReceivedBytes: received, overallTotalBytes: total } = event;
    this.#downloadStarted ??= { ms: this.#now(), bytes: received };
    const seconds = (this.#now() - this.#downloadStarted.ms) / 1000;
    const rate = seconds > 0 ? (received - this.#downloadStarted.bytes) / seconds : 0;
    const left = rate > 0 && received < total ? `${secondsText((total - received) / rate)} left` : undefined;
    return join([`download ${file}  ${bytesText(received)} of ${bytesText(total)}`, rate > 0 ? `${bytesText(rate)}/s` : undefined, left]);
  }

  #quantize({ part, doneBytes, totalBytes }: QuantizeEvent): string {
    if (this.#quantizing?.part !== part) this.#quantizing = { part, ms: this.#now(), bytes: doneBytes };
    const seconds = (this.#now() - this.#quantizing.ms) / 1000;
    const rate = seconds > 0 ? (doneBytes - this.#quantizing.bytes) / seconds : 0;
    const left = rate > 0 && doneBytes < totalBytes ? `${secondsText((totalBytes - doneBytes) / rate)} left` : undefined;
    const pace = rate > 0 ? `${bytesText(rate)}/s` : undefined;
    return join([
      `quantize ${part}  ${bytesText(doneBytes)} of ${bytesText(totalBytes)}`,
      pace,
      left,
      memory("memory", this.#residentBytes()),
    ]);
  }

  #compare({ setting, work, done, total }: CompareEvent): ProgressLine {
    const key = `${setting} ${work}`;
    const ms = this.#comparing?.work === key ? this.#comparing.ms : this.#now();
    const text = `${setting}  ${work} ${done}/${total}`;
    this.#comparing = { text, work: key, ms };
    const left = done > 0 && done < total ? `${secondsText(((this.#now() - ms) / 1000 / done) * (total - done))} left` : undefined;
    return { text: join([text, left]), isMilestone: done === total };
  }

  #bench({ tool, name, round, rounds, done, total, run, failure }: BenchEvent): ProgressLine {
    this.#benchStartedMs ??= this.#now();
    const pace = done > 0 ? (this.#now() - this.#benchStartedMs) / 1000 / done : 0;
    const left = done > 0 && done < total ? `${secondsText(pace * (total - done))} left` : undefined;
    const took = run?.commandSeconds === undefined ? undefined : secondsText(run.commandSeconds);
    const peak = memory("peak", run?.peakAnonymousBytes ?? run?.peakResidentBytes ?? undefined);
    const failed = failure === undefined ? undefined : `failed: ${failure}`;
    return {
      text: join([`${tool} ${name}`, `run ${round}/${rounds}`, took, peak, failed, left]),
      isMilestone: done > 0 && (run ?? failure) !== undefined,
    };
  }

  #segment({ phase, part, done, total }: Extract<PipelineEvent, { type: "segment" }>): string {
    const where = phase === "denoise" && this.#steps > 0 ? `denoise ${this.#step}/${this.#steps}` : phase;
    return join([where, `${part} ${done}/${total}`, ...this.#pace(), memory("memory", this.#residentBytes())]);
  }

  #afterStep({ step, steps, seconds }: Extract<PipelineEvent, { type: "step" }>): string {
    this.#step = step;
    this.#steps = steps;
    this.#stepSeconds = [...this.#stepSeconds, seconds].slice(-RECENT_STEPS);
    return join([`denoise ${step}/${steps}`, ...this.#pace(), memory("memory", this.#residentBytes())]);
  }

  #pace(): string[] {
    if (this.#stepSeconds.length === 0 || this.#step === this.#steps) return [];
    const mean = this.#stepSeconds.reduce((sum, seconds) => sum + seconds, 0) / this.#stepSeconds.length;
    return [`${secondsText(mean)}/step`, `${secondsText(mean * (this.#steps - this.#step))} left`];
  }
}

function memory(word: string, bytes: number | undefined): string | undefined {
  return bytes === undefined ? undefined : `${word} ${bytesText(bytes)}`;
}

function join(parts: readonly (string | undefined)[]): string {
  return parts.filter((part) => part !== undefined).join("  ");
}

function freezeText({ part, storedBytes, frozenBytes }: Extract<PipelineEvent, { type: "freeze" }>): string {
  return frozenBytes === undefined
    ? `quantizing ${part} (${bytesText(storedBytes)})`
    : `quantized ${part}: ${bytesText(storedBytes)} to ${bytesText(frozenBytes)}`;
}
