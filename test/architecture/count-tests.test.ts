/** The totals that .ci/run ends with: a broken file or a missing report must never read as "0 failed". */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";

const script = fileURLToPath(new URL("../../.ci/count-tests.cjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "halftone-count-"));
afterAll(() => rmSync(folder, { recursive: true }));

const file = (status: string, ...tests: string[]) => ({ status, assertionResults: tests.map((one) => ({ status: one })) });

test.each([
  ["all passed", { numPassedTests: 3, numFailedTests: 0, testResults: [file("passed", "passed")] }, "3 passed, 0 failed"],
  [
    "two failed",
    { numPassedTests: 3, numFailedTests: 2, testResults: [file("failed", "failed", "failed", "passed")] },
    "3 passed, 2 failed",
  ],
  ["a file broke", { numPassedTests: 3, numFailedTests: 0, testResults: [file("passed", "passed"), file("failed")] }, "3 passed, 1 failed"],
  ["a file broke after its tests", { numPassedTests: 3, numFailedTests: 0, testResults: [file("failed", "passed")] }, "3 passed, 1 failed"],
  ["no report", undefined, "0 passed, 1 failed"],
])("%s", (name, report, line) => {
  const path = join(folder, `${name}.json`);
  if (report !== undefined) writeFileSync(path, JSON.stringify(report));
  expect(execFileSync(process.execPath, [script, path], { encoding: "utf8" })).toBe(`${line}\n`);
});
