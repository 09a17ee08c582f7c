/**
 * Spreads tensors over files of a limited size, and writes the index that says which lies where.
 *
 * Source: huggingface_hub serialization/_base.py@1.x (split_state_dict_into_shards_factory); differs: tensors go in the natural order of
 * their names (block 2 before block 10), where Python takes the order in which a model's class declares them.
 */
import { elementSizeBytes } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import type { TensorSpec } from "./safetensors-layout.ts";

/** Files, and the index if there are several. */
export interface ShardPlan {
  readonly files: readonly { readonly fileName: string; readonly tensors: readonly TensorSpec[] }[];
  readonly index: { readonly fileName: string; readonly text: string } | undefined;
}

/** Plans files named after `baseName` ("model", "diffusion_pytorch_model"); a tensor larger than the limit has a file of its own. */
export function planShards(specs: readonly TensorSpec[], baseName: string, maxShardBytes: number): ShardPlan {
  const collator = new Intl.Collator("en", { numeric: true });
  const shards: TensorSpec[][] = [];
  const large: TensorSpec[][] = [];
  let room = 0;
  for (const spec of [...specs].sort((a, b) => collator.compare(a.name, b.name))) {
    const sizeBytes = sizeOf(spec);
    if (sizeBytes > maxShardBytes) {
      large.push([spec]);
      continue;
    }
    if (sizeBytes > room || shards.length === 0) {
      shards.push([]);
      room = maxShardBytes;
    }
    shards.at(-1)?.push(spec);
    room -= sizeBytes;
  }
  const all = [...large, ...shards];
  const [only] = all;
  if (all.length <= 1) return { files: [{ fileName: `${baseName}.safetensors`, tensors: only ?? [] }], index: undefined };
  const numbered = (n: number) => String(n).padStart(5, "0");
  const files = all.map((tensors, i) => ({ fileName: `${baseName}-${numbered(i + 1)}-of-${numbered(all.length)}.safetensors`, tensors }));
  const places = files.flatMap(({ fileName, tensors }) => tensors.map(({ name }) => [name, fileName] as const));
  places.sort(([a], [b]) => (a < b ? -1 : 1));
  const map = places.map(([name, fileName]) => `    ${JSON.stringify(name)}: ${JSON.stringify(fileName)}`).join(",\n");
  const total = specs.reduce((sum, spec) => sum + sizeOf(spec), 0);
  const text = `{\n  "metadata": {\n    "total_size": ${total}\n  },\n  "weight_map": {\n${map}\n  }\n}\n`;
  return { files, index: { fileName: `${baseName}.safetensors.index.json`, text } };
}

function sizeOf({ shape, dtype }: TensorSpec): number {
  return elementCount(shape) * elementSizeBytes(dtype);
}
