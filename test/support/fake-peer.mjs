/** A peer of `halftone bench` for tests: prints what the first word says, and writes its arguments into a file if told where. */
import { appendFileSync } from "node:fs";

const [kind, ...args] = process.argv.slice(2);
if (process.env.FAKE_PEER_LOG) appendFileSync(process.env.FAKE_PEER_LOG, `${JSON.stringify({ pid: process.pid, args })}\n`);
const run = {
  name: "fake",
  versions: { node: process.versions.node },
  ...{ loadSeconds: 0.5, quantizeSeconds: 0, stepSeconds: [0.25], weightBytes: { transformer: 1000 } },
  phases: [{ phase: "denoise", seconds: 0.25, peakAnonymousBytes: 1e6, peakResidentBytes: 2e6 }],
};
if (kind === "works") console.log(`a remark\n${JSON.stringify(run)}`);
if (kind === "rubbish") console.log("ready");
if (kind === "fails") {
  console.error("Traceback\nModuleNotFoundError: No module named 'diffusers'");
  process.exitCode = 1;
}
if (kind === "killed") process.kill(process.pid, "SIGKILL");
if (kind === "waits") {
  setInterval(() => {}, 1000);
}
