/**
 * Where the cache lies, which Hub is meant and which token opens it, by the environment variables and files of the Python library.
 *
 * Source: huggingface_hub constants.py and utils/_auth.py@2.4.0; differs: an empty variable counts as unset, tokens are not renewed.
 */

import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { isMissing } from "../checkpoint/system-error.ts";
import { FileError, UsageError } from "../errors.ts";

/** Environment variables by name; `process.env` has this form. */
export type Variables = Readonly<Record<string, string | undefined>>;

/** Returns the folder that holds the cached repositories: HF_HUB_CACHE, or "hub" inside HF_HOME. */
export function cacheFolder(variables: Variables): string {
  return resolve(expand(variables.HF_HUB_CACHE || variables.HUGGINGFACE_HUB_CACHE || join(homeFolder(variables), "hub"), variables));
}

/** Returns the address of the Hub, without "/" at its end: HF_ENDPOINT or https://huggingface.co. */
export function hubEndpoint(variables: Variables): string {
  const text = (variables.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");
  if (!/^https?:\/\//.test(text) || !URL.canParse(text)) {
    throw new UsageError(`HF_ENDPOINT is "${text}", expected an address that starts with https://`);
  }
  return text;
}

/** Tells whether the environment forbids the network: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE. */
export function isOffline(variables: Variables): boolean {
  return isOn(variables.HF_HUB_OFFLINE || variables.TRANSFORMERS_OFFLINE);
}

/** Tells whether the cache must copy instead of link: HF_HUB_DISABLE_SYMLINKS. */
export function linksDisabled(variables: Variables): boolean {
  return isOn(variables.HF_HUB_DISABLE_SYMLINKS);
}

/** Returns how long a server may stay silent: HF_HUB_DOWNLOAD_TIMEOUT in seconds, else 30 seconds. */
export function silenceLimitMs(variables: Variables): number {
  const seconds = Number(variables.HF_HUB_DOWNLOAD_TIMEOUT);
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : 30_000;
}

/**
 * Finds the access token: HF_TOKEN, HUGGING_FACE_HUB_TOKEN, or the file that `hf auth login` writes.
 *
 * Errors: FileError when the token file is there but can't be read; UsageError when the token can't be one. Neither repeats the token.
 */
export async function findToken(variables: Variables): Promise<string | undefined> {
  if (isOn(variables.HF_HUB_DISABLE_IMPLICIT_TOKEN)) {
    return undefined;
  }
  const fromVariable = cleanToken(variables.HF_TOKEN || variables.HUGGING_FACE_HUB_TOKEN, "HF_TOKEN");
  if (fromVariable !== undefined) {
    return fromVariable;
  }
  const path = expand(variables.HF_TOKEN_PATH || join(homeFolder(variables), "token"), variables);
  try {
    return cleanToken(await readFile(path, "utf8"), path);
  } catch (cause) {
    if (cause instanceof UsageError) {
      throw cause;
    }
    if (isMissing(cause)) {
      return undefined;
    }
    throw new FileError("the file with the Hub's access token can't be read", { where: path, cause });
  }
}

/** Strips white space from a token, and returns undefined if nothing is left. */
export function cleanToken(text: string | undefined, where: string): string | undefined {
  const token = text?.trim() ?? "";
  if (!/^[\x21-\x7e]*$/.test(token)) {
    throw new UsageError("the access token has characters that no token has", { where });
  }
  return token === "" ? undefined : token;
}

function homeFolder(variables: Variables): string {
  return expand(variables.HF_HOME || join(variables.XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface"), variables);
}

function isOn(value: string | undefined): boolean {
  return value !== undefined && ["1", "ON", "YES", "TRUE"].includes(value.toUpperCase());
}

function expand(path: string, variables: Variables): string {
  const fromHome = path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
  return fromHome.replace(/\$(\w+)|\$\{(\w+)\}/g, (whole, plain, braced) => variables[plain ?? braced] ?? whole);
}
