import { describe } from "vitest";
import { onnxRuntimeNode } from "./onnxruntime-node.ts";
import { testRuntime } from "./runtime.contract.ts";

describe("onnxruntime-node on the CPU", () => testRuntime(() => onnxRuntimeNode({ threads: 1 })));
