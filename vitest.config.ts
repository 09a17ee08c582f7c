import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

// `halftone` means the sources here, so that examples and tests read as a user's code does.
export default defineConfig({
  resolve: { alias: { halftone: fileURLToPath(new URL("./src/index.ts", import.meta.url)) } },
  test: {
    include: ["src/**/*.test.ts", "test/**/*.test.ts"],
    // onnxruntime's native module is loaded per process, and two cores serve two workers.
    pool: "forks",
    maxWorkers: 2,
    // Quantized weights of tests stay out of the user's own cache.
    env: { HALFTONE_CACHE: fileURLToPath(new URL("./node_modules/.cache/halftone-test", import.meta.url)) },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
