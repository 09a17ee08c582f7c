import { expect, test } from "vitest";
import { editJsonObject } from "./json-edit.ts";

const TEXT =
  '{\n  "_class_name": "X",\n  "dropout": 0.0,\n  "lambda": -Infinity,\n  "list": [\n    1,\n    2\n  ],\n  "norm_eps": 1e-06\n}\n';

test("an object as Python writes it stays as it is", () => {
  expect(editJsonObject(TEXT, {})).toBe(TEXT);
  expect(editJsonObject("{}", {})).toBe("{}\n");
});

test("members are set in their place and taken away, and the others keep their spelling", () => {
  const edited = editJsonObject(TEXT, { list: undefined, absent: undefined, mode: { b: null, a: ["x"] }, dropout: 1 });
  expect(edited).toBe(
    '{\n  "_class_name": "X",\n  "dropout": 1,\n  "lambda": -Infinity,\n  "mode": {\n    "b": null,\n    "a": [\n      "x"\n    ]\n  },\n  "norm_eps": 1e-06\n}\n',
  );
});

test("the text may be written in another way", () => {
  expect(editJsonObject('{"b" :1e-06,"a":{"x": [ 1 ]} }', { c: true })).toBe('{\n  "a": {"x": [ 1 ]},\n  "b": 1e-06,\n  "c": true\n}\n');
});
