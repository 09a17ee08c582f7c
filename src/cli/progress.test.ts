import { PassThrough } from "node:stream";
import { describe, expect, test } from "vitest";
import type { PipelineEvent } from "../index.ts";
import { canRedraw, createProgress } from "./progress.ts";
import { ProgressText } from "./progress-text.ts";

const LATENTS = { dtype: "float32", shape: [1, 4, 2, 2], data: new Float32Array(16) } as const;

function step(step: number, steps: number, seconds: number): PipelineEvent {
  return { type: "step", step, steps, timestep: 500, seconds, latents: LATENTS };
}

function texts(events: readonly PipelineEvent[], nowMs = 0): (string | undefined)[] {
  const progress = new ProgressText(
    () => 310e6,
    () => nowMs,
  );
  return events.map((event) => progress.next(event)?.text);
}

describe("ProgressText", () => {
  test("says step, seconds per step, time left and memory", () => {
    expect(texts([step(1, 20, 2), step(2, 20, 4), step(20, 20, 3)])).toEqual([
      "denoise 1/20  2.00 s/step  38.0 s left  memory 310 MB",
      "denoise 2/20  3.00 s/step  54.0 s left  memory 310 MB",
      "denoise 20/20  memory 310 MB",
    ]);
  });

  test("says what a comparison is at, before whatever runs in it", () => {
    let ms = 0;
    const progress = new ProgressText(
      () => 310e6,
      () => ms,
    );
    const compare = (work: "pictures" | "layers", done: number) => ({ type: "compare", setting: "qint4", work, done, total: 4 }) as const;
    expect(progress.next(compare("pictures", 0))).toEqual({ text: "qint4  pictures 0/4", isMilestone: false });
    const phase: PipelineEvent = { type: "phase", report: { phase: "encode", seconds: 1, peakResidentBytes: undefined } };
    expect(progress.next(phase)).toEqual({ text: "qint4  pictures 0/4  encode done in 1.00 s", isMilestone: false });
    ms = 10_000;
    expect(progress.next(compare("pictures", 1))?.text).toBe("qint4  pictures 1/4  30.0 s left");
    expect(progress.next(compare("layers", 0))?.text).toBe("qint4  layers 0/4");
    ms = 12_000;
    expect(progress.next(compare("layers", 2))?.text).toBe("qint4  layers 2/4  2.00 s left");
    expect(progress.next(compare("layers", 4))).toEqual({ text: "qint4  layers 4/4", isMilestone: true });
  });

  test("predicts from the last five steps", () => {
    const events = [100, 1, 1, 1, 1, 1].map((seconds, i) => step(i + 1, 10, seconds));
    expect(texts(events).at(-1)).toBe("denoise 6/10  1.00 s/step  4.00 s left  memory 310 MB");
  });

  test("says the segment within a phase or step", () => {
    const encode: PipelineEvent = { type: "segment", phase: "encode", part: "text_encoder", done: 3, total: 24 };
    const denoise: PipelineEvent = { type: "segment", phase: "denoise", part: "transformer", done: 12, total: 28 };
    expect(texts([encode, denoise, step(1, 2, 60), denoise])).toEqual([
      "encode  text_encoder 3/24  memory 310 MB",
      "denoise  transformer 12/28  memory 310 MB",
      "denoise 1/2  60.0 s/step  60.0 s left  memory 310 MB",
      "denoise 1/2  transformer 12/28  60.0 s/step  60.0 s left  memory 310 MB",
    ]);
  });

  test("says how fast a download is, once that is known", () => {
    let now = 0;
    const progress = new ProgressText(
      () => 0,
      () => now,
    );
    const download = (receivedBytes: number): PipelineEvent => ({
      type: "download",
      file: "vae/model.safetensors",
      receivedBytes,
      totalBytes: 500e6,
      overallReceivedBytes: 1e9 + receivedBytes,
      overallTotalBytes: 2e9,
    });
    expect(progress.next(download(0))).toEqual({ text: "download vae/model.safetensors  1.00 GB of 2.00 GB", isMilestone: false });
    now = 10_000;
    expect(progress.next(download(100e6))?.text).toBe("download vae/model.safetensors  1.10 GB of 2.00 GB  10.0 MB/s  90.0 s left");
    expect(progress.next(download(500e6))?.isMilestone).toBe(true);
  });

  test("tells of parts and phases, and leaves warnings and pictures to others", () => {
    const events: PipelineEvent[] = [
      { type: "load", part: "vae", className: "AutoencoderKL", weightBytes: 167e6 },
      { type: "phase", report: { phase: "decode", seconds: 1.5, peakResidentBytes: 2e9 } },
      { type: "phase", report: { phase: "decode", seconds: 1.5, peakResidentBytes: undefined } },
      { type: "warning", message: "look" },
    ];
    expect(texts(events)).toEqual([
      "load vae (AutoencoderKL, 167 MB)",
      "decode done in 1.50 s  peak 2.00 GB",
      "decode done in 1.50 s",
      undefined,
    ]);
  });
});

describe("createProgress", () => {
  async function record(quiet: boolean) {
    const written: string[] = [];
    let now = 0;
    const output = { write: (text: string) => written.push(text) > 0 };
    const progress = await createProgress({ stdout: output, stderr: output, env: {} }, quiet, () => now);
    const at = (ms: number) => {
      now = ms;
      return progress;
    };
    return { at, written: () => written.join("") };
  }

  test("where lines cannot change, one comes every five seconds, and each phase's end", async () => {
    const { at, written } = await record(false);
    for (let i = 1; i <= 20; i++) at(i * 1000).show(step(i, 20, 1));
    at(20_001).show({ type: "phase", report: { phase: "denoise", seconds: 20, peakResidentBytes: 1e9 } });
    const lines = written().trimEnd().split("\n");
    expect(lines.map((line) => line.split("  ")[0])).toEqual([
      "denoise 5/20",
      "denoise 10/20",
      "denoise 15/20",
      "denoise 20/20",
      "denoise done in 20.0 s",
    ]);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: none may be there.
    expect(written()).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
  });

  const hostile = { type: "load", part: "vae", className: "A\u001b[2J\u009b1m\nB", weightBytes: 1e6 } as const;

  test("a name from a file cannot steer the terminal: plain lines", async () => {
    const { at, written } = await record(false);
    at(0).show(hostile);
    expect(written()).toBe("load vae (A\\u001b[2J\\u009b1m\\nB, 1.00 MB)\n");
  });

  test("a name from a file cannot steer the terminal: the changing line", async () => {
    const written: string[] = [];
    const stream = Object.assign(new PassThrough(), {
      isTTY: true,
      columns: 200,
      cursorTo: () => true,
      clearLine: () => true,
      moveCursor: () => true,
    });
    stream.on("data", (text) => written.push(String(text)));
    const progress = await createProgress({ stdout: stream, stderr: stream, env: { NO_COLOR: "1" } }, false);
    progress.show(hostile);
    progress.stop();
    expect(written.join("")).toContain("load vae (A\\u001b[2J\\u009b1m\\nB, 1.00 MB)");
    expect(written.join("")).not.toContain("\u001b[2J");
  });

  test("--quiet says nothing", async () => {
    const { at, written } = await record(true);
    at(10_000).show(step(1, 20, 1));
    expect(written()).toBe("");
  });

  test.each([
    [{ isTTY: true, columns: 80 }, {}, true],
    [{ isTTY: true, columns: 80 }, { CI: "false" }, true],
    [{ isTTY: false, columns: 80 }, {}, false],
    [{ columns: 80 }, {}, false],
    [{ isTTY: true, columns: 80 }, { CI: "true" }, false],
    [{ isTTY: true, columns: 80 }, { TERM: "dumb" }, false],
    [{ isTTY: true, columns: 0 }, {}, false],
  ])("a line changes on %j with %j: %s", (side, env, expected) => {
    const output = { write: () => true, ...side };
    expect(canRedraw({ stdout: output, stderr: output, env })).toBe(expected);
  });
});
