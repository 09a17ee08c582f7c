/**
 * The commands and their flags. Commander takes the words apart; what it has to complain about becomes an error of our own, with the
 * nearest flag or command as hint.
 */
import { Command, CommanderError } from "commander";
import { UsageError, version } from "../index.ts";
import { type BenchFlags, bench } from "./bench.ts";
import { cache } from "./cache.ts";
import { type CompareFlags, compare } from "./compare.ts";
import { isCancelled, reportCancelled, reportFailure } from "./failure.ts";
import { generate } from "./generate.ts";
import { inspect } from "./inspect.ts";
import { flagsOf, misuse } from "./misuse.ts";
import {
  collected,
  decimalNumber,
  dtypeWord,
  memorySize,
  numberList,
  oneOf,
  repeated,
  seedNumber,
  sizeList,
  type ValueReader,
  wholeNumber,
  word,
} from "./option-values.ts";
import { type QuantizeFlags, quantizeModel } from "./quantize.ts";
import type { GenerateFlags } from "./request.ts";
import type { Surroundings } from "./surroundings.ts";

/** Runs a command line (without "node" and the script) and returns the exit code: 0 done, 1 failed, 2 misuse. */
export async function runCommandLine(args: readonly string[], surroundings: Surroundings): Promise<number> {
  const { terminal, signal } = surroundings;
  const program = createProgram(surroundings);
  try {
    await program.parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    if (!(error instanceof CommanderError) && isCancelled(error, signal)) {
      reportCancelled(terminal.stderr);
      return 1;
    }
    const shown = error instanceof CommanderError ? misuse(error, program, args) : error;
    return reportFailure(shown, terminal.stderr, args.includes("--debug"));
  }
}

function createProgram(surroundings: Surroundings): Command {
  const { stdout, stderr, env } = surroundings.terminal;
  const program = new Command("halftone")
    .description("Text-to-image diffusion transformers in a fraction of their memory.")
    .version(version, "--version", "print the version")
    .helpOption("-h, --help", "print this help")
    .option("--debug", "print the stack of an error")
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      // Complaints are printed by runCommandLine, as ours are.
      outputError: () => {},
      getOutHasColors: () => stdout.isTTY === true && env.NO_COLOR === undefined,
    })
    .exitOverride();
  addGenerate(program, surroundings);
  addQuantize(program, surroundings);
  addCompare(program, surroundings);
  addBench(program, surroundings);
  addInspect(program, surroundings);
  addCache(program, surroundings);
  return program;
}

function addGenerate(program: Command, surroundings: Surroundings): void {
  const command = program
    .command("generate")
    .argument("[prompt]", "what the picture shows, in quotes")
    .description("make pictures of a prompt");
  const option = optionOf(command);
  option("--model <dir|id>", "folder or Hub id (default: the embedded demo model)", word("--model", "a folder or a Hub id"));
  option("--negative-prompt <text>", "what the picture should not show", String);
  addClassOptions(option);
  option("--seed <n>", "decides the noise (default: drawn at random, and reported)", seedNumber("--seed"));
  option("--steps <n>", "denoising steps", wholeNumber("--steps", 1, 10_000));
  option(
    "--guidance-scale <x>",
    "how closely to follow the prompt; 1 or less turns guidance off",
    decimalNumber("--guidance-scale", 0, 1000),
  );
  option("--height <pixels>", "default: what the model was trained for", wholeNumber("--height", 1, 65_536));
  option("--width <pixels>", "default: what the model was trained for", wholeNumber("--width", 1, 65_536));
  option("--images <n>", "pictures at once (default: 1)", wholeNumber("--images", 1, 10_000));
  option("--binning", "generate at the nearest size the model was trained for, then resize");
  option("--dtype <dtype>", "what weights and noise are rounded to: float32 (default), float16, bfloat16", dtypeWord("--dtype"));
  option(
    "--qtype <spec>",
    'quantize: "qint8" (transformer and text encoders), or pairs such as "transformer=qint4,text_encoder=qfloat8"',
    word("--qtype", "a qtype or pairs part=qtype"),
  );
  option("--include <pattern>", "quantize only layers whose full name matches; may be repeated", collected("--include"));
  option("--exclude <pattern>", "leave layers out; may be repeated", collected("--exclude"));
  option("--fuse-qkv", "one product for queries, keys and values of the transformer");
  option("--fast", "multiply in 8-bit integers: faster, a slightly different picture; means --qtype transformer=qint8 unless told");
  addLocateOptions(option);
  addMemoryOption(option);
  option("--threads <n>", "threads of the engine", wholeNumber("--threads", 1, 256));
  option("--output <file.png>", "default: halftone-<seed>.png; several pictures get -1, -2, ...", word("--output", "the name of a file"));
  option("--save-latents <file.safetensors>", "also write the final latents", word("--save-latents", "the name of a file"));
  option("--from <picture.png>", "repeat a picture's recipe; other flags change it", word("--from", "a picture"));
  option("--no-metadata", "leave the recipe out of the picture");
  option("--json", "print one JSON object instead of file names");
  option("--quiet", "print no progress and no summary");
  command.action(async (prompt: string | undefined, flags: GenerateFlags) => {
    refuseMoreThanOne(command, "prompt");
    await generate(prompt, flags, surroundings);
  });
}

/** What only some pipelines take; the others refuse it by name. */
function addClassOptions(option: ReturnType<typeof optionOf>): void {
  for (const [n, ordinal] of [
    [2, "second"],
    [3, "third"],
  ]) {
    option(`--prompt-${n} <text>`, `what the ${ordinal} text encoder reads instead of the prompt`, String);
    option(`--negative-prompt-${n} <text>`, `what the ${ordinal} text encoder reads instead of the negative prompt`, String);
  }
  option("--clip-skip <n>", "layers of CLIP text encoders to leave out (default: 0)", wholeNumber("--clip-skip", 0, 1000));
}

function addQuantize(program: Command, surroundings: Surroundings): void {
  const command = program.command("quantize").argument("<model>", "folder or Hub id of a pipeline, or folder of one part");
  command.description("write a model with quantized weights, which halftone and Quanto load");
  const option = optionOf(command);
  option(
    "--qtype <spec>",
    'quantize: "qint8" (transformer and text encoders), or pairs such as "transformer=qint4,text_encoder=qfloat8"',
    word("--qtype", "a qtype or pairs part=qtype"),
  );
  option("--output <folder>", "where to write the model", word("--output", "the name of a folder"));
  option("--include <pattern>", "quantize only layers whose full name matches; may be repeated", collected("--include"));
  option("--exclude <pattern>", "leave layers out; may be repeated", collected("--exclude"));
  option("--dtype <dtype>", "what weights are rounded to first: float32 (default), float16, bfloat16", dtypeWord("--dtype"));
  option("--optimizer <name>", "absmax for 8 bits, max (default) or hqq for fewer", oneOf("--optimizer", ["absmax", "max", "hqq"]));
  option("--layout <name>", "whose files to write: quanto (default) or diffusers", oneOf("--layout", ["quanto", "diffusers"]));
  addLocateOptions(option);
  option("--force", "replace the output if it is a model's folder");
  option("--json", "print one JSON object instead of the folder's name");
  option("--quiet", "print no progress and no summary");
  command.action(async (model: string, flags: Partial<QuantizeFlags>) => {
    refuseMoreThanOne(command, "model");
    const { qtype, output } = flags;
    if (qtype === undefined) throw new UsageError("quantize needs --qtype, got none", { hint: "for example --qtype qint8" });
    if (output === undefined) throw new UsageError("quantize needs --output, got none", { hint: "name the folder to write" });
    await quantizeModel(model, { ...flags, qtype, output }, surroundings);
  });
}

function addCompare(program: Command, surroundings: Surroundings): void {
  const command = program.command("compare").argument("[model]", "folder or Hub id of a float model (default: the embedded demo model)");
  command.description("measure what quantization does to a model's pictures");
  const option = optionOf(command);
  option("--prompts <file>", "a prompt a line; the embedded model has some of its own", word("--prompts", "the name of a file"));
  option("--qtype <spec>", "a setting to measure, as in generate; may be repeated", collected("--qtype", "a qtype or pairs part=qtype"));
  option("--include <pattern>", "quantize only layers whose full name matches; may be repeated", collected("--include"));
  option("--exclude <pattern>", "leave layers out; may be repeated", collected("--exclude"));
  option("--fast", "also measure every setting as generate --fast multiplies it");
  option("--sensitivity", "also quantize each layer alone (default for small models, and with a target)");
  option("--no-sensitivity", "only make and measure pictures");
  option("--target-psnr <dB>", "propose layers to keep in float for a PSNR of at least this", decimalNumber("--target-psnr", 0.1, 200));
  option(
    "--target-error <share>",
    "the same for a relative error of a prediction, 0.01 is 1 %",
    decimalNumber("--target-error", 0.000001, 1),
  );
  option("--seed <n>", "of the first prompt, the next has the next (default: 0)", seedNumber("--seed"));
  option("--steps <n>", "denoising steps", wholeNumber("--steps", 1, 10_000));
  option("--guidance-scale <x>", "1 or less turns guidance off", decimalNumber("--guidance-scale", 0, 1000));
  option("--height <pixels>", "default: what the model was trained for", wholeNumber("--height", 1, 65_536));
  option("--width <pixels>", "default: what the model was trained for", wholeNumber("--width", 1, 65_536));
  option("--dtype <dtype>", "of the reference and before quantizing: float32 (default), float16, bfloat16", dtypeWord("--dtype"));
  addLocateOptions(option);
  option("--threads <n>", "threads of the engine", wholeNumber("--threads", 1, 256));
  addMemoryOption(option);
  option("--output <folder>", "where to write grid and reports (default: halftone-compare)", word("--output", "the name of a folder"));
  option("--force", "replace the folder of an earlier comparison");
  option("--json", "print the report as JSON instead of the folder's name");
  option("--quiet", "print no progress and no summary");
  command.action(async (model: string | undefined, flags: CompareFlags) => {
    refuseMoreThanOne(command, "model");
    await compare(model, flags, surroundings);
  });
}

function addBench(program: Command, surroundings: Surroundings): void {
  const command = program.command("bench").argument("[model]", "folder or Hub id (default: the embedded demo model)");
  command.description("measure time and memory of many settings, each in a process of its own");
  const option = optionOf(command);
  option(
    "--qtype <spec>",
    'as in generate, or "none" (default); may be repeated',
    collected("--qtype", 'a qtype, pairs part=qtype, or "none"'),
  );
  option("--dtype <dtype>", "float32 (default), float16, bfloat16; may be repeated", repeated(dtypeWord("--dtype")));
  option(
    "--exclude <pattern>",
    'leave layers of every quantized setting out; may be repeated; "none" among them also measures each with nothing left out',
    collected("--exclude"),
  );
  option("--fuse-qkv", "each setting also with one product for queries, keys and values");
  option("--fast", "each setting with qint8 weights also multiplied in 8-bit integers");
  option("--images <list>", "pictures at once, such as 1,4 (default: 1)", numberList("--images", 1, 10_000));
  option("--size <list>", "sizes to cross with the rest: 512,1024 or width x height, 1024x768", sizeList("--size"));
  option("--height <pixels>", "default: what the model was trained for", wholeNumber("--height", 1, 65_536));
  option("--width <pixels>", "default: what the model was trained for", wholeNumber("--width", 1, 65_536));
  option("--steps <n>", "denoising steps", wholeNumber("--steps", 1, 10_000));
  option("--guidance-scale <x>", "1 or less turns guidance off", decimalNumber("--guidance-scale", 0, 1000));
  option("--prompt <text>", "what the pictures show", String);
  option("--seed <n>", "decides the noise (default: 0)", seedNumber("--seed"));
  option("--runs <n>", "runs of each setting (default: 3)", wholeNumber("--runs", 1, 1000));
  option("--peers <command>", "a program to compare with, such as reference/peer.py in Python", word("--peers", "a command"));
  option(
    "--peer-dtype <dtype>",
    "what the peer calculates in: float32 (default), ...; may be repeated",
    repeated(dtypeWord("--peer-dtype")),
  );
  option(
    "--max-memory <size>",
    "memory that halftone may use: bytes, or 800MB, 1.5GiB (default: what is free)",
    memorySize("--max-memory"),
  );
  option("--threads <n>", "threads of the engine", wholeNumber("--threads", 1, 256));
  addLocateOptions(option);
  option("--output <folder>", "where to write tables and plots (default: halftone-bench)", word("--output", "the name of a folder"));
  option("--force", "replace the folder of an earlier benchmark");
  option("--json", "print the report as JSON instead of the folder's name");
  option("--quiet", "print no progress and no summary");
  command.action(async (model: string | undefined, flags: BenchFlags) => {
    refuseMoreThanOne(command, "model");
    if (flags.peerDtype !== undefined && flags.peers === undefined) {
      throw new UsageError("--peer-dtype says what the peer calculates in, but none is named", { hint: "name its command with --peers" });
    }
    if (flags.size !== undefined && (flags.height !== undefined || flags.width !== undefined)) {
      throw new UsageError("--size and --height or --width exclude each other", {
        hint: "--size 1024x768 is a width of 1024 and a height of 768",
      });
    }
    await bench(model, flags, surroundings);
  });
}

function addInspect(program: Command, surroundings: Surroundings): void {
  const command = program.command("inspect").argument("<model|picture.png>", "folder, Hub id, or picture");
  command.description("print what a model consists of and how much memory it takes, or what a picture was made with");
  const option = optionOf(command);
  option("--qtype <spec>", "plan as if quantized: as of generate", word("--qtype", "a qtype or pairs part=qtype"));
  option("--include <pattern>", "quantize only layers whose full name matches; may be repeated", collected("--include"));
  option("--exclude <pattern>", "leave layers out; may be repeated", collected("--exclude"));
  option("--height <pixels>", "plan for this size (default: what the model was trained for)", wholeNumber("--height", 1, 65_536));
  option("--width <pixels>", "plan for this size (default: what the model was trained for)", wholeNumber("--width", 1, 65_536));
  option("--images <n>", "plan for so many pictures at once (default: 1)", wholeNumber("--images", 1, 10_000));
  addMemoryOption(option);
  addLocateOptions(option);
  option("--json", "print one JSON object");
  command.action(async (target: string, flags: object) => {
    refuseMoreThanOne(command, "model or picture");
    await inspect(target, flags, surroundings);
  });
}

function addCache(program: Command, { terminal }: Surroundings): void {
  const command = program.command("cache").argument("[list|clear]", "what to do (default: list)");
  command.description("show or free the weights that were quantized for pictures");
  optionOf(command)("--json", "print one JSON object");
  command.action(async (action: string | undefined, flags: { json?: boolean }) => {
    refuseMoreThanOne(command, "action");
    await cache(action, flags, terminal);
  });
}

function addMemoryOption(option: ReturnType<typeof optionOf>): void {
  option("--max-memory <size>", "memory that may be used: bytes, or 800MB, 1.5GiB (default: what is free)", memorySize("--max-memory"));
}

/** Which files of a model are meant, and where they may come from. */
function addLocateOptions(option: ReturnType<typeof optionOf>): void {
  option("--variant <name>", 'take weights of a variant, such as "fp16"', word("--variant", "the name of a variant"));
  option("--revision <name>", "branch, tag or commit of a Hub id", word("--revision", "a branch, tag or commit"));
  option("--offline", "use downloaded models only, never the network");
}

/** Adds flags to a command; a flag where a value belongs is a forgotten value. */
function optionOf(command: Command) {
  command.allowExcessArguments(true);
  return <T>(flags: string, description: string, read?: ValueReader<T>): void => {
    if (read === undefined) {
      command.option(flags, description);
      return;
    }
    const name = flags.split(" ")[0] ?? flags;
    command.option(flags, description, (text: string, previous?: T) => {
      if (!flagsOf(command).includes(text)) return read(text, previous);
      throw new UsageError(`${name} needs a value, got the option ${text}`);
    });
  };
}

function refuseMoreThanOne(command: Command, what: string): void {
  const { args } = command;
  if (args.length <= 1) return;
  throw new UsageError(`${command.name()} takes one ${what}, got ${args.length}: ${args.map((arg) => JSON.stringify(arg)).join(", ")}`, {
    hint: `put the ${what} in quotes: halftone ${command.name()} "${args.join(" ")}"`,
  });
}
