/**
 * What model code walks: a scope that mirrors the checkpoint's own names, `weights.at("transformer_blocks", 3).at("attn1").tensor("to_q.weight", …)`.
 *
 * Asking gives a reference, never bytes, and is checked at once: a missing or misshapen tensor fails while a model is put together, with
 * its full name, before anything large is read. What nobody asked for can be listed afterwards.
 */
import { CheckpointError, nearestWord } from "../errors.ts";
import { quote, type StoredTensor, shapeText } from "./stored-tensor.ts";

/** The tensors of one component, by full name, and where they were found. */
export interface WeightTable {
  /** The component in words: "transformer", "text_encoder". */
  readonly component: string;
  /** The file or index that lists the tensors, for messages. */
  readonly name: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Names of qtypes by the full name of the module whose weight is quantized. */
  readonly qtypes?: ReadonlyMap<string, string> | undefined;
  /** Quantized modules that have a scale of 0: a row of zeros, whose codes may be anything. */
  readonly zeroScales?: ReadonlySet<string> | undefined;
  /** Attention calculates queries, keys and values in one product. */
  readonly fusesQkv?: boolean | undefined;
  /** Products with 8-bit integer weights are calculated in integers, with inputs rounded to 8 bits. */
  readonly integerProducts?: IntegerProducts | undefined;
}

/**
 * How integers are multiplied: 8-bit inputs without sign by codes with their sign, or by codes moved up by 128, which have none. The numbers are
 * the same; on processors where sums of the first kind overflow, only the second is right.
 */
export type IntegerProducts = "signed" | "unsigned";

/** A place in a checkpoint's tree of names. */
export class Weights {
  readonly #table: WeightTable;
  readonly #prefix: string;
  readonly #asked: Set<string>;

  private constructor(table: WeightTable, prefix: string, asked: Set<string>) {
    this.#table = table;
    this.#prefix = prefix;
    this.#asked = asked;
  }

  /** Starts at the root of a component's names. */
  static of(table: WeightTable): Weights {
    return new Weights(table, "", new Set());
  }

  /** The component in words, for messages. */
  get component(): string {
    return this.#table.component;
  }

  /** The names walked so far, joined with dots; empty at the root. */
  get path(): string {
    return this.#prefix.slice(0, -1);
  }

  /** The qtype of this place's weight, by name, or undefined if it is stored as it is. */
  get qtype(): string | undefined {
    return this.#table.qtypes?.get(this.path);
  }

  /** Whether attention layers fuse their projections. */
  get fusesQkv(): boolean {
    return this.#table.fusesQkv ?? false;
  }

  /** How products with 8-bit integer weights are calculated in integers, or undefined: in float32. */
  get integerProducts(): IntegerProducts | undefined {
    return this.#table.integerProducts;
  }

  /** Whether a row of this place's quantized weight has a scale of 0. */
  get hasZeroScale(): boolean {
    return this.#table.zeroScales?.has(this.path) ?? false;
  }

  /** Goes down by names and indices. */
  at(...names: readonly (string | number)[]): Weights {
    return new Weights(
      this.#table,
      names.reduce<string>((prefix, name) => `${prefix}${name}.`, this.#prefix),
      this.#asked,
    );
  }

  /** Whether there is a tensor of exactly this name here. */
  has(name: string): boolean {
    return this.#table.tensors.has(this.#prefix + name);
  }

  /**
   * Returns a tensor and marks it as used.
   *
   * Errors: CheckpointError when it is missing or has another shape.
   */
  tensor(name: string, shape: readonly number[]): StoredTensor {
    const fullName = this.#prefix + name;
    const tensor = this.#table.tensors.get(fullName);
    if (tensor === undefined) throw this.#missing(fullName);
    if (tensor.shape.length !== shape.length || tensor.shape.some((dim, axis) => dim !== shape[axis])) {
      throw new CheckpointError(
        `${this.component} weight ${quote(fullName)} has shape ${shapeText(tensor.shape)}, expected ${shapeText(shape)}`,
        { where: tensor.source.name, hint: `${this.component}/config.json and the weights may belong to different models` },
      );
    }
    this.#asked.add(fullName);
    return tensor;
  }

  /** Full names of the tensors below this place that nobody has asked for, sorted. */
  unused(): readonly string[] {
    return [...this.#table.tensors.keys()].filter((name) => name.startsWith(this.#prefix) && !this.#asked.has(name)).sort();
  }

  #missing(fullName: string): CheckpointError {
    const nearest = nearestWord(fullName, [...this.#table.tensors.keys()]);
    return new CheckpointError(`${this.component} weight ${quote(fullName)} is missing`, {
      where: this.#table.name,
      hint:
        nearest === undefined
          ? `${this.component}/config.json and the weights may belong to different models`
          : `the nearest name there is ${quote(nearest)}`,
    });
  }
}
