/**
 * From the name of a tokenizer's class, as model_index.json gives it, to the code that reads its folder. A new class is one line here.
 */
import * as v from "valibot";
import type { Folder } from "../checkpoint/byte-source.ts";
import { CheckpointError, UnsupportedError } from "../errors.ts";
import { readClipTokenizer } from "./clip-folder.ts";
import { readLlamaTokenizer } from "./llama-folder.ts";
import { readT5Tokenizer } from "./t5-folder.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { nameOfFile, readJson, type TokenizerFolder } from "./tokenizer-files.ts";

const READERS: Readonly<Record<string, (place: TokenizerFolder) => Promise<Tokenizer>>> = {
  CLIPTokenizer: readClipTokenizer,
  CLIPTokenizerFast: readClipTokenizer,
  LlamaTokenizer: readLlamaTokenizer,
  LlamaTokenizerFast: readLlamaTokenizer,
  T5Tokenizer: readT5Tokenizer,
  T5TokenizerFast: readT5Tokenizer,
};

/**
 * Reads the tokenizer in a folder of a checkpoint ("tokenizer"; "" is the checkpoint itself), from tokenizer.json if it is there, else from
 * spiece.model, from tokenizer.model, or from vocab.json and merges.txt. Without a class name the folder's tokenizer_config.json names it.
 *
 * Errors: UnsupportedError for a class that halftone lacks; CheckpointError when files are missing, damaged or name no class.
 */
export async function loadTokenizer(folder: Folder, path: string, className?: string): Promise<Tokenizer> {
  const place = { folder, path };
  const name = className ?? (await classNameOf(place));
  const read = Object.hasOwn(READERS, name) ? READERS[name] : undefined;
  if (read === undefined) {
    throw new UnsupportedError(`tokenizer class ${JSON.stringify(name)} is not supported, only ${Object.keys(READERS).join(", ")}`, {
      where: nameOfFile(place, ""),
    });
  }
  return await read(place);
}

async function classNameOf(place: TokenizerFolder): Promise<string> {
  const config = await readJson(place, "tokenizer_config.json", v.object({ tokenizer_class: v.nullish(v.string()) }));
  if (config?.tokenizer_class) return config.tokenizer_class;
  throw new CheckpointError("the tokenizer's class is not known: tokenizer_config.json is missing or has no tokenizer_class", {
    where: nameOfFile(place, ""),
    hint: "get the tokenizer's files again",
  });
}
