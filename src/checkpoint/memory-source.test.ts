import { describe, expect, it } from "vitest";
import { byteSourceContract, folderContract } from "./byte-source.contract.ts";
import { subfolder } from "./folder.ts";
import { memoryFolder, memorySource } from "./memory-source.ts";

describe("memorySource", () => {
  byteSourceContract(async (bytes) => memorySource("memory", bytes));
});

describe("memoryFolder", () => {
  folderContract(async (files) => memoryFolder("memory", files));
});

describe("subfolder", () => {
  const parent = (files: Record<string, string>) =>
    memoryFolder("memory", Object.fromEntries(Object.entries(files).map(([path, text]) => [`inner/${path}`, text])));
  folderContract(async (files) => subfolder(parent(files), "inner"));

  it("is the folder itself for an empty path, and refuses to lead out of it", () => {
    const folder = parent({});
    expect(subfolder(folder, "")).toBe(folder);
    expect(() => subfolder(folder, "../x")).toThrow('path "../x" is not inside the model folder, expected a relative path of plain names');
  });
});
