/**
 * Whether memory goes back: many pictures of the embedded model in one process, each from a pipeline of its own, resident memory after each.
 *
 * usage: node bench/memory-leak.ts [--pictures 200] (Node 22.18 or newer, after `npm run build`)
 * Writes bench/results/memory-leak.json and docs/pictures/memory-leak.svg; fails when the last tenth is more than 2 % above the tenth after the
 * first pictures.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { DiffusionPipeline, demoModelFolder } from "halftone";
import { describeMachine } from "../src/pipelines/bench/machine-node.ts";

const { values } = parseArgs({ options: { pictures: { type: "string", default: "200" } } });
const count = Number(values.pictures);
const run = describeMachine();
const resident: number[] = [];
const anonymous: number[] = [];
for (let seed = 0; seed < count; seed++) {
  const pipeline = await DiffusionPipeline.fromPretrained(demoModelFolder);
  await pipeline.generate("a red apple on a blue background", { seed, numInferenceSteps: 4 });
  await pipeline.dispose();
  const status = readFileSync("/proc/self/status", "utf8");
  const bytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]) * 1024;
  resident.push(bytes("VmRSS"));
  anonymous.push(bytes("RssAnon"));
}
const tenth = Math.max(1, Math.floor(count / 10));
const mean = (numbers: readonly number[]) => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
const growth = mean(resident.slice(-tenth)) / mean(resident.slice(tenth, 2 * tenth)) - 1;
const result = { run, settings: { pictures: count }, growth, resident, anonymous };
writeFileSync("bench/results/memory-leak.json", `${JSON.stringify(result)}\n`);
writeFileSync("docs/pictures/memory-leak.svg", plot());
console.log(
  `after the first picture ${megabytes(resident[0])}, after the last ${megabytes(resident.at(-1))}; growth ${(100 * growth).toFixed(2)} %`,
);
process.exitCode = growth > 0.02 ? 1 : 0;

function megabytes(bytes: number | undefined): string {
  return `${((bytes ?? 0) / 1e6).toFixed(0)} MB`;
}

/** Both kinds of memory over the pictures. */
function plot(): string {
  const [width, height, left, bottom] = [720, 240, 60, 30];
  const most = Math.max(...resident);
  const line = (numbers: readonly number[], colour: string) => {
    const x = (i: number) => left + ((width - left - 10) * i) / Math.max(1, count - 1);
    const points = numbers.map(
      (value, i) => `${x(i).toFixed(1)},${(height - bottom - ((height - bottom - 20) * value) / most).toFixed(1)}`,
    );
    return `<polyline fill="none" stroke="${colour}" points="${points.join(" ")}"/>`;
  };
  const text = `<text x="${left}" y="14">resident (dark) and anonymous (light) memory after each of ${count} pictures; top: ${megabytes(most)}</text>`;
  const lines = line(resident, "#2b5c8a") + line(anonymous, "#9bb8d3");
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="11"><title>Memory after each picture</title>${text}${lines}</svg>\n`;
}
