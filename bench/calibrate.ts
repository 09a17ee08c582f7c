import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { Sampler } from "./sampler.ts";
for (const text of process.argv.slice(2)) {
  const child = spawn(process.execPath, ["--expose-gc", "bench/calibrate-child.ts", text], { stdio: ["ignore", "pipe", "inherit"] });
  const sampler = new Sampler(child.pid ?? 0);
  let before = Date.now();
  const out: string[] = [];
  let base = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const m = JSON.parse(line);
    const p = sampler.peak(before, m.at).anonymousBytes;
    if (m.stage === "before") { base = m.anon; out.push(`in ${(m.inputBytes / 1e6).toFixed(0)} base ${(m.anon / 1e6).toFixed(0)} PRED arena ${(m.predicted.arenaBytes / 1e6).toFixed(0)} out ${(m.predicted.outputBytes / 1e6).toFixed(0)} ${m.predicted.pms.toFixed(0)}ms nodes ${m.nodes} ${m.names[0]}`); }
    else out.push(`${m.stage} peak ${((Math.max(p, m.anon) - base) / 1e6).toFixed(0)} after ${((m.anon - base) / 1e6).toFixed(0)}${m.seconds ? ` ${m.seconds.toFixed(2)}s u${m.user.toFixed(2)} s${m.sys.toFixed(2)}` : ""}`);
    before = m.at;
  }
  sampler.stop();
  console.log(text, "\n   ", out.join(" | "));
}
