/** Names, aliases and errors of qtypes; numbers are proven in test/parity/quant.test.ts. */
import { expect, test } from "vitest";
import { caught } from "../../test/support/caught.ts";
import { findQType, QTYPES, qfloat8, qfloat8_e4m3fn } from "./qtype.ts";

test("every name finds its qtype; qfloat8 is e4m3fn", () => {
  expect(QTYPES.map(({ name }) => findQType(name))).toEqual(QTYPES);
  expect(findQType("qfloat8")).toBe(qfloat8_e4m3fn);
  expect(qfloat8).toBe(qfloat8_e4m3fn);
});

test("ranges are those of the types", () => {
  expect(QTYPES.map(({ name, qmin, qmax }) => [name, qmin, qmax])).toEqual([
    ["qint8", -128, 127],
    ["qint4", -8, 7],
    ["qint2", -2, 1],
    ["qfloat8_e4m3fn", -448, 448],
    ["qfloat8_e4m3fnuz", -240, 240],
    ["qfloat8_e5m2", -57344, 57344],
  ]);
});

test.each([
  ["qint9", "did you mean qint8?"],
  ["int4", "did you mean qint4?"],
  ["float8", "did you mean qfloat8?"],
  ["QFloat8", "did you mean qfloat8?"],
  ["qfloat8_e4m3", "did you mean qfloat8_e4m3fn?"],
])("%s", async (text, hint) => {
  expect(await caught(() => findQType(text))).toEqual({
    kind: "UsageError",
    message: `qtype must be one of qint8, qint4, qint2, qfloat8, qfloat8_e4m3fn, qfloat8_e4m3fnuz, qfloat8_e5m2, got "${text}"`,
    hint,
  });
});

test("a word that is near to nothing has no hint", async () => {
  expect((await caught(() => findQType("nf4-double"))).hint).toBeUndefined();
});
