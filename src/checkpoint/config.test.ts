import * as v from "valibot";
import { describe, expect, it } from "vitest";
import { caught } from "../../test/support/caught.ts";
import { parseConfig } from "./config.ts";

const Schema = v.object({
  num_layers: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(100)), 28),
  dropout: v.optional(v.pipe(v.number(), v.finite(), v.gtValue(0), v.ltValue(1)), 0.5),
  name: v.nullish(v.string()),
  bias: v.optional(v.boolean(), true),
  act: v.optional(v.picklist(["gelu", "silu"]), "gelu"),
  norm: v.optional(v.literal("ada"), "ada"),
  sizes: v.optional(v.array(v.pipe(v.number(), v.integer())), []),
  even: v.optional(
    v.pipe(
      v.number(),
      v.check((x) => x % 2 === 0, "an even number"),
    ),
    2,
  ),
  nested: v.optional(v.object({ depth: v.pipe(v.number(), v.integer()), list: v.optional(v.tuple([v.number(), v.string()])) })),
  either: v.optional(v.union([v.string(), v.number()]), 1),
  table: v.optional(v.record(v.string(), v.number()), {}),
});

const parse = (value: unknown) => parseConfig(Schema, value, "transformer config", "transformer/config.json");

describe("parseConfig", () => {
  it("fills in defaults, passes over what it does not know", () => {
    expect(parse({ name: null, unknown: 3, sizes: [4] })).toMatchObject({ num_layers: 28, name: null, sizes: [4], act: "gelu" });
    expect(parse({ unknown: 3 })).not.toHaveProperty("unknown");
  });

  it.each<[unknown, string, string?]>([
    [{ num_layers: "28" }, 'has num_layers = "28" (string), expected an integer'],
    [{ num_layers: null }, "has num_layers = null, expected an integer"],
    [{ num_layers: 1.5 }, "has num_layers = 1.5, expected an integer"],
    [{ num_layers: 0 }, "has num_layers = 0, expected at least 1"],
    [{ num_layers: 101 }, "has num_layers = 101, expected at most 100"],
    [{ dropout: Number.POSITIVE_INFINITY }, "has dropout = Infinity, expected a finite number"],
    [{ dropout: Number.NaN }, "has dropout = NaN, expected a number"],
    [{ dropout: 0 }, "has dropout = 0, expected more than 0"],
    [{ dropout: 1 }, "has dropout = 1, expected less than 1"],
    [{ name: 3 }, "has name = 3 (number), expected a string"],
    [{ name: ["x"] }, "has name = a list of 1, expected a string"],
    [{ bias: 1 }, "has bias = 1 (number), expected true or false"],
    [{ act: "geglu" }, 'has act = "geglu", expected "gelu" or "silu"', "UnsupportedError"],
    [{ norm: "batch" }, 'has norm = "batch", expected "ada"', "UnsupportedError"],
    [{ sizes: [1, "2"] }, 'has sizes[1] = "2" (string), expected an integer'],
    [{ sizes: 3 }, "has sizes = 3 (number), expected a list"],
    [{ even: 3 }, "has even = 3, expected an even number"],
    [{ nested: {} }, "has no nested.depth, expected an integer"],
    [{ nested: 3 }, "has nested = 3 (number), expected an object"],
    [{ nested: { depth: 1, list: [1, 2] } }, "has nested.list[1] = 2 (number), expected a string"],
    [{ either: true }, "has either = true, expected (string | number)"],
    [{ table: { x: "y" } }, 'has table.x = "y" (string), expected a number'],
    [{ name: 3, bias: 1 }, "has name = 3 (number), expected a string"],
    [{ act: "x".repeat(500) }, `has act = "${"x".repeat(79)}…, expected "gelu" or "silu"`, "UnsupportedError"],
    [[], "is a list, expected an object"],
    [null, "is null, expected an object"],
  ])("%j", async (value, sentence, kind = "CheckpointError") => {
    expect(await caught(() => parse(value))).toEqual({ kind, message: `transformer config ${sentence}`, where: "transformer/config.json" });
  });

  it("names entries that a strict schema does not know", async () => {
    const strict = v.strictObject({ a: v.number() });
    expect((await caught(() => parseConfig(strict, { a: 1, b: 2 }, "config", "x"))).message).toBe("config has the unknown entry b");
    expect((await caught(() => parseConfig(strict, {}, "config", "x"))).message).toBe("config has no a, expected a number");
  });
});
