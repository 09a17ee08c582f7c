/**
 * How a folder says that its weights are quantized. Quanto writes `quanto_qmap.json`, a qtype for each module; diffusers one qtype for the
 * whole part into config.json, with the modules left out by the last word of their names. The tensors are the same in both.
 *
 * Source: optimum-quanto models/diffusers_models.py, quantize.py@0.2.7; diffusers quantizers/quantization_config.py, quantizers/quanto/@0.42.1.
 */
import * as v from "valibot";
import type { Folder } from "../checkpoint/byte-source.ts";
import { parseConfig } from "../checkpoint/config.ts";
import { readJsonIfPresent } from "../checkpoint/json.ts";
import { quote } from "../checkpoint/stored-tensor.ts";
import { CheckpointError, nearestWord, UnsupportedError, UsageError } from "../errors.ts";
import { QTYPES, type QType, type QTypeName } from "./qtype.ts";

/** Who reads the folder. */
export type QuantizationLayout = "quanto" | "diffusers";

/** What a folder says of its weights. */
export interface StoredQuantization {
  /** By the full name of the module. */
  readonly qtypes: ReadonlyMap<string, QTypeName>;
  readonly layout: QuantizationLayout;
}

/** The file in which Quanto keeps the qtypes. */
export const QUANTO_MAP = "quanto_qmap.json";

const QuantoMapSchema = v.record(v.string(), v.object({ weights: v.string(), activations: v.string() }));
const DiffusersSchema = v.object({ weights_dtype: v.string() });
const CODES = /^(.+)\.weight\._data(?:\._data)?$/;

/**
 * Reads how a part's weights are quantized, in either layout; undefined if they are not.
 *
 * Errors: CheckpointError when map and tensors do not belong together; UnsupportedError for an unknown qtype, quantized activations, or
 * another library's quantization.
 */
export async function readQuantization(
  folder: Folder,
  config: Readonly<Record<string, unknown>>,
  tensorNames: Iterable<string>,
  signal?: AbortSignal,
): Promise<StoredQuantization | undefined> {
  const names = new Set(tensorNames);
  const map = await readJsonIfPresent(folder, QUANTO_MAP, { signal });
  if (map !== undefined) {
    const where = `${folder.name}/${QUANTO_MAP}`;
    const qtypes = parseQuantoMap(map, where);
    checkTensors(qtypes, names, where);
    return { qtypes, layout: "quanto" };
  }
  const where = `${folder.name}/config.json`;
  const quantized = [...names].flatMap((name) => CODES.exec(name)?.[1] ?? []);
  if (config.quantization_config !== undefined && config.quantization_config !== null) {
    const qtype = parseDiffusersConfig(config.quantization_config, where);
    const qtypes = new Map(quantized.map((module) => [module, qtype.name]));
    checkTensors(qtypes, names, where);
    return { qtypes, layout: "diffusers" };
  }
  const [first] = quantized;
  if (first === undefined) return undefined;
  throw new CheckpointError(`module ${quote(first)} is quantized, but the folder does not say how`, {
    where: folder.name,
    hint: `expected ${QUANTO_MAP}, or quantization_config in config.json`,
  });
}

function parseQuantoMap(value: unknown, where: string): Map<string, QTypeName> {
  const map = parseConfig(QuantoMapSchema, value, QUANTO_MAP, where);
  const qtypes = new Map<string, QTypeName>();
  for (const [module, { weights, activations }] of Object.entries(map)) {
    if (activations !== "none") {
      throw new UnsupportedError(`module ${quote(module)} has activations of ${quote(activations)}, which halftone does not run`, {
        where,
        hint: "quantize the weights alone",
      });
    }
    if (weights !== "none") qtypes.set(module, qtypeNamed(weights, module, where).name);
  }
  return qtypes;
}

function qtypeNamed(name: string, module: string, where: string): QType {
  const found = QTYPES.find((qtype) => qtype.name === name);
  if (found !== undefined) return found;
  throw unknownQType(
    `module ${quote(module)} has weights of ${quote(name)}`,
    name,
    QTYPES.map((qtype) => qtype.name),
    where,
  );
}

function parseDiffusersConfig(value: unknown, where: string): QType {
  const method = typeof value === "object" && value !== null && "quant_method" in value ? value.quant_method : undefined;
  if (method !== "quanto") {
    const got = typeof method === "string" ? quote(method) : "an unknown library";
    throw new UnsupportedError(`the weights are quantized by ${got}, which halftone does not read`, {
      where,
      hint: 'it reads quant_method "quanto", or the unquantized model',
    });
  }
  const { weights_dtype: word } = parseConfig(DiffusersSchema, value, "quantization_config", where);
  const found = QTYPES.find(({ diffusersName }) => diffusersName === word);
  if (found !== undefined) return found;
  const known = QTYPES.flatMap(({ diffusersName }) => diffusersName ?? []);
  throw unknownQType(`quantization_config has weights_dtype = ${quote(word)}`, word, known, where);
}

function unknownQType(sentence: string, word: string, known: readonly string[], where: string): UnsupportedError {
  const near = nearestWord(word, known);
  return new UnsupportedError(`${sentence}, expected one of ${known.join(", ")}`, {
    where,
    hint: near === undefined ? undefined : `the nearest is ${near}`,
  });
}

/** Every module of the map has its tensors, and every quantized tensor its module. */
function checkTensors(qtypes: ReadonlyMap<string, QTypeName>, names: ReadonlySet<string>, where: string): void {
  const known = new Set<string>();
  for (const [module, name] of qtypes) {
    const weight = `${module}.weight`;
    if (names.has(weight)) {
      throw new CheckpointError(`module ${quote(module)} is ${name} by the map, but its weight is stored unquantized`, {
        where,
        hint: "the model was saved before freeze(model): freeze it in Python and save it again",
      });
    }
    const { bits } = qtypeNamed(name, module, where);
    const expected = bits === 8 ? ["_data", "_scale"] : ["_data._data", "_scale", "_shift"];
    const missing = expected.find((key) => !names.has(`${weight}.${key}`));
    if (missing !== undefined) {
      throw new CheckpointError(`module ${quote(module)} is ${name} by the map, but tensor ${quote(`${weight}.${missing}`)} is missing`, {
        where,
        hint: "the map and the weights may belong to different models",
      });
    }
    known.add(`${weight}.${expected[0]}`);
  }
  const stray = [...names].find((name) => CODES.test(name) && !known.has(name));
  if (stray !== undefined) {
    throw new CheckpointError(`tensor ${quote(stray)} belongs to no module that the map quantizes`, {
      where,
      hint: "the map and the weights may belong to different models",
    });
  }
}

/** Makes the text of quanto_qmap.json, as Python writes it. */
export function quantoMapText(qtypes: ReadonlyMap<string, QTypeName>): string {
  const entries = Array.from(qtypes, ([module, qtype]) => {
    return `    ${JSON.stringify(module)}: {\n        "weights": "${qtype}",\n        "activations": "none"\n    }`;
  });
  return entries.length === 0 ? "{}" : `{\n${entries.join(",\n")}\n}`;
}

/** A layer that could be quantized: "linear", or "conv2d", which diffusers' config leaves alone. */
export interface QuantizableLayer {
  readonly name: string;
  readonly kind: "linear" | "conv2d";
}

/** The value of `quantization_config`, in the order in which Python sorts its keys. */
export interface DiffusersQuantization {
  readonly modules_to_not_convert: readonly string[] | null;
  readonly quant_method: "quanto";
  readonly weights_dtype: string;
}

/**
 * Says a part's quantization in diffusers' words.
 *
 * Errors: UsageError for what those words cannot say: several qtypes, one that diffusers does not know, quantized convolutions, or layers
 * left out whose last name a quantized layer has too.
 */
export function diffusersQuantization(layers: readonly QuantizableLayer[], qtypes: ReadonlyMap<string, QType>): DiffusersQuantization {
  const hint = "the layout quanto can say it";
  const names = [...new Set([...qtypes.values()].map(({ name }) => name))];
  const [qtype] = qtypes.values();
  if (qtype === undefined) throw new UsageError("the layout diffusers needs a quantized layer, got none");
  if (names.length > 1) throw new UsageError(`the layout diffusers has one qtype for a whole part, got ${names.join(" and ")}`, { hint });
  if (qtype.diffusersName === undefined) {
    const known = QTYPES.filter(({ diffusersName }) => diffusersName !== undefined).map(({ name }) => name);
    throw new UsageError(`the layout diffusers has no word for ${qtype.name}, expected one of ${known.join(", ")}`, { hint });
  }
  const conv = layers.find(({ name, kind }) => kind === "conv2d" && qtypes.has(name));
  if (conv !== undefined)
    throw new UsageError(`the layout diffusers leaves convolutions in float, got ${quote(conv.name)} quantized`, { hint });
  const linears = layers.filter(({ kind }) => kind === "linear");
  const left = new Map(linears.filter(({ name }) => !qtypes.has(name)).map(({ name }) => [lastName(name), name]));
  const clash = linears.find(({ name }) => qtypes.has(name) && left.has(lastName(name)));
  if (clash !== undefined) {
    const word = lastName(clash.name);
    throw new UsageError(
      `the layout diffusers leaves layers out by their last name, but ${quote(word)} is both: ${quote(left.get(word) ?? "")} is left out, ${quote(clash.name)} is quantized`,
      { hint },
    );
  }
  return {
    modules_to_not_convert: left.size === 0 ? null : [...left.keys()].sort(),
    quant_method: "quanto",
    weights_dtype: qtype.diffusersName,
  };
}

function lastName(module: string): string {
  return module.slice(module.lastIndexOf(".") + 1);
}
