/**
 * The published code: index.js, cli/main.js and a worker's file, with what they share in chunks of library/. Only our own modules are in it;
 * packages stay imports. Why it is bundled: docs/architecture.md.
 */
import { defineConfig } from "rolldown";

export default defineConfig({
  input: {
    index: "src/index.ts",
    "cli/main": "src/cli/main.ts",
    "library/quantize-worker-node": "src/quant/quantize-worker-node.ts",
  },
  external: /^[^./]/,
  platform: "node",
  logLevel: "warn",
  tsconfig: false,
  output: { dir: "dist", cleanDir: true, entryFileNames: "[name].js", chunkFileNames: "library/[name].js" },
});
