// Prints `N passed, N failed` from vitest's JSON report. A test file that broke before its tests began counts as one failed test, and so
// does a report that is missing: nothing that went wrong may read as "0 failed".
const { readFileSync } = require("node:fs");

/** @param {string} path */
function count(path) {
  let report;
  try {
    report = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return { passed: 0, failed: 1 };
  }
  const broken = report.testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((one) => one.status === "failed"),
  );
  return { passed: report.numPassedTests, failed: report.numFailedTests + broken.length };
}

const { passed, failed } = count(process.argv[2]);
console.log(`${passed} passed, ${failed} failed`);
