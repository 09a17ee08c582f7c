/**
 * A graph under construction: nodes over values with known dtypes and shapes, and *references* to weights that stay in their files.
 *
 * Shapes are concrete numbers: a graph is built for one size and batch, which costs milliseconds because no weight is read. Operators
 * (operators.ts) add nodes and infer shapes; onnx.ts encodes the result for the engine, printer.ts for people and snapshots.
 */
import type { StoredTensor } from "../checkpoint/stored-tensor.ts";
import type { ComputeDType, DType } from "../tensor/dtype.ts";

/** One value flowing through a graph: an input, a weight, a constant or the output of a node. */
export interface Value {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Attribute of a node: numbers are written as ONNX INT, `{ float }` as FLOAT, arrays as INTS. */
export type Attribute = number | string | readonly number[] | { readonly float: number };

/** One operator application; `outputs` are names, since consumers hold the values. */
export interface GraphNode {
  readonly operator: string;
  /** "" is the ONNX standard set, "com.microsoft" onnxruntime's own. */
  readonly domain: "" | "com.microsoft";
  /** Names of input values; "" for an optional input that is left out. */
  readonly inputs: readonly string[];
  readonly outputs: readonly Value[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

/** A small constant that is part of the graph itself. */
export interface Constant {
  readonly value: Value;
  readonly data: Float32Array | BigInt64Array | Uint8Array;
}

/** A layer that quantization may replace: one of torch's nn.Linear or nn.Conv2d. */
export interface LayerModule {
  /** Full dotted name in the checkpoint. */
  readonly name: string;
  readonly kind: "linear" | "conv2d";
  /** Shape of its weight. */
  readonly shape: readonly number[];
  /** Its weight keeps the stored precision whatever the pipeline's dtype. */
  readonly keepPrecision: boolean;
}

/** A graph: grows while a model's layers are applied, then is encoded and compiled. */
export class Graph {
  readonly inputs: Value[] = [];
  /** Outputs by the name that the caller gave them; the engine knows them by the value's own name. */
  readonly outputs = new Map<string, Value>();
  readonly nodes: GraphNode[] = [];
  readonly constants: Constant[] = [];
  /** Weights by value name, in order of first use. */
  readonly weights = new Map<string, StoredTensor>();
  /** Values whose shape the engine is told, by name. */
  readonly declared = new Map<string, Value>();
  /** Every linear and convolutional layer, in order of use. */
  readonly modules: LayerModule[] = [];
  private readonly constantNames = new Map<string, Value>();
  /** What weights are rounded to before they are widened to float32. */
  readonly dtype: ComputeDType;
  private counter = 0;

  constructor(dtype: ComputeDType) {
    this.dtype = dtype;
  }

  /** Declares an input. */
  input(name: string, shape: readonly number[], dtype: DType = "float32"): Value {
    const value = { name, dtype, shape };
    this.inputs.push(value);
    return value;
  }

  /** Declares an output. */
  output(name: string, value: Value): void {
    this.outputs.set(name, value);
  }

  /** Tells the engine the shape of a value, where it cannot know it before it runs. */
  declareShape(value: Value): void {
    this.declared.set(value.name, value);
  }

  /** The stored weight as it lies in its file; one value however often it is asked for. */
  weight(stored: StoredTensor): Value {
    this.weights.set(stored.name, stored);
    return { name: stored.name, dtype: stored.dtype, shape: stored.shape };
  }

  /** A float32 constant; equal small constants are stored once. */
  floats(values: readonly number[] | Float32Array, shape: readonly number[] = [values.length]): Value {
    return this.constant(Float32Array.from(values), shape, "float32");
  }

  /** An int64 constant; equal small constants are stored once. */
  integers(values: readonly number[], shape: readonly number[] = [values.length]): Value {
    const data = BigInt64Array.from(values, (value) => BigInt(value));
    return this.constant(data, shape, "int64");
  }

  /** A uint8 constant of one element. */
  byte(value: number): Value {
    return this.constant(Uint8Array.of(value), [1], "uint8");
  }

  /** Adds a node with one output and returns it. */
  node(
    operator: string,
    inputs: readonly (Value | undefined)[],
    shape: readonly number[],
    options: { domain?: "com.microsoft"; attributes?: Record<string, Attribute>; dtype?: DType } = {},
  ): Value {
    const value: Value = { name: `${operator}_${this.counter++}`, dtype: options.dtype ?? "float32", shape };
    this.nodes.push({
      operator,
      domain: options.domain ?? "",
      inputs: inputs.map((input) => input?.name ?? ""),
      outputs: [value],
      attributes: options.attributes ?? {},
    });
    return value;
  }

  /** Adds a node with several outputs, of its first input's dtype unless told. */
  nodeWithOutputs(
    operator: string,
    inputs: readonly Value[],
    shapes: readonly (readonly number[])[],
    attributes: Record<string, Attribute>,
    dtypes: readonly DType[] = [],
  ): Value[] {
    const id = this.counter++;
    const outputs = shapes.map(
      (shape, i): Value => ({ name: `${operator}_${id}_${i}`, dtype: dtypes[i] ?? inputs[0]?.dtype ?? "float32", shape }),
    );
    this.nodes.push({ operator, domain: "", inputs: inputs.map((input) => input.name), outputs, attributes });
    return outputs;
  }

  private constant(data: Constant["data"], shape: readonly number[], dtype: "float32" | "int64" | "uint8"): Value {
    const key = data.length <= 16 ? `${dtype}[${shape}]=${data}` : undefined;
    const known = key === undefined ? undefined : this.constantNames.get(key);
    if (known !== undefined) return known;
    const value: Value = { name: `constant_${this.constants.length}`, dtype, shape };
    this.constants.push({ value, data });
    if (key !== undefined) this.constantNames.set(key, value);
    return value;
  }
}
