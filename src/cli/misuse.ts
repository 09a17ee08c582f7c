/**
 * What Commander complains about, in our words: one sentence, and the nearest command or flag as hint.
 */
import type { Command, CommanderError } from "commander";
import { nearestWord, UsageError } from "../index.ts";

/** Turns Commander's complaint into an error of ours. */
export function misuse(error: CommanderError, program: Command, args: readonly string[]): UsageError {
  const named = /'([^']*)'/.exec(error.message)?.[1] ?? "";
  const commands = program.commands;
  const command = commands.find((known) => known.name() === args.find((arg) => !arg.startsWith("-")));
  switch (error.code) {
    case "commander.help":
      return new UsageError("no command was given", { hint: 'for a first picture: halftone generate "a red apple on a blue background"' });
    case "commander.unknownCommand": {
      const near = nearestWord(
        named,
        commands.map((known) => known.name()),
      );
      const prompt = `for a picture: halftone generate ${JSON.stringify(named)}`;
      return new UsageError(`there is no command ${JSON.stringify(named)}`, {
        hint: near === undefined ? prompt : `did you mean halftone ${near}?`,
      });
    }
    case "commander.unknownOption": {
      const flag = named.split("=")[0] ?? named;
      const isMisplaced = command === undefined || args.indexOf(named) < args.indexOf(command.name());
      const owner = commands.find((known) => flagsOf(known).includes(flag));
      if (isMisplaced && owner !== undefined) {
        return new UsageError(`option ${flag} stands before its command`, { hint: `write halftone ${owner.name()} ... ${flag} ...` });
      }
      return unknownFlag(flag, command ?? program, command === undefined ? commands : []);
    }
    case "commander.optionMissingArgument":
      return new UsageError(`${named.split(" ")[0]} needs a value, got none`);
    case "commander.missingArgument":
      return new UsageError(`${command?.name() ?? "halftone"} needs a ${named}, got none`);
    default:
      return new UsageError(error.message.replace(/^error: /, ""));
  }
}

/** The long names of a command's flags, and of those that every command takes. */
export function flagsOf(command: Command): string[] {
  return [...command.options, ...(command.parent?.options ?? [])].flatMap(({ long }) => long ?? []).concat("--help");
}

/** What a flag must not be taken for. */
const OPPOSITE: Readonly<Record<string, string>> = { "--exclude": "--include" };

/** The flags of other tools that halftone has nothing for, and why. */
const UNSUPPORTED: Readonly<Record<string, string>> = {
  "--lora": "LoRA weights are not supported",
  "--loras": "LoRA weights are not supported",
  "--lora-scale": "LoRA weights are not supported",
  "--controlnet": "ControlNet is not supported",
  "--control-net": "ControlNet is not supported",
  "--control-image": "ControlNet is not supported",
  "--ip-adapter": "IP-Adapter is not supported",
  "--image": "pictures as input are not supported",
  "--init-image": "pictures as input are not supported",
};

/** The error for a flag that a command does not have: named if other tools have it, else answered with the nearest. */
function unknownFlag(flag: string, command: Command, others: readonly Command[]): UsageError {
  const reason = UNSUPPORTED[flag];
  if (reason !== undefined) return new UsageError(`option ${flag} was given, but ${reason}`);
  // A flag that takes layers in must not become the one that leaves them out.
  const known = [command, ...others].flatMap(flagsOf).filter((name) => flag !== OPPOSITE[name]);
  const near = nearestWord(flag, known);
  const of = command.parent === null ? "generate" : command.name();
  return new UsageError(`there is no option ${JSON.stringify(flag)}`, {
    hint: near === undefined ? `halftone ${of} --help lists the options` : `did you mean ${near}?`,
  });
}
