/**
 * What went wrong on the way to the Hub, in words that say what helps: another try, a token, a licence, another name.
 *
 * The Hub tells the cause in the header X-Error-Code; its status alone misleads (a missing repository is 401 without a token).
 * Source: huggingface_hub utils/_http.py `hf_raise_for_status`@2.4.0.
 */

import { DownloadError } from "../errors.ts";

/** Kinds of failure that callers treat differently. */
export type FailureKind = "network" | "server" | "rate" | "gated" | "token" | "repository" | "revision" | "file" | "refused" | "content";

/** What is known of a failure beside its text. */
export interface Failure {
  readonly kind: FailureKind;
  /** How long the server asks to wait. */
  readonly retryAfterMs?: number | undefined;
}

const known = new WeakMap<Error, Failure>();

/** Returns what is known of an error made in this room, or undefined for any other. */
export function failureOf(error: unknown): Failure | undefined {
  return error instanceof Error ? known.get(error) : undefined;
}

/** Makes a DownloadError and remembers its kind. */
export function downloadFailure(
  failure: Failure,
  message: string,
  details: { where?: string; hint?: string; cause?: unknown },
): DownloadError {
  const error = new DownloadError(message, details);
  known.set(error, failure);
  return error;
}

/** What a request was for. */
export interface RequestContext {
  readonly id: string;
  readonly endpoint: string;
  readonly revision: string;
  readonly hasToken: boolean;
}

/** Turns an answer of the Hub or of a storage host that is not a success into an error. */
export function failureOfResponse(response: Response, url: string, context: RequestContext): DownloadError {
  const { id, endpoint, revision } = context;
  const where = withoutQuery(url);
  const code = response.headers.get("x-error-code");
  const said = response.headers.get("x-error-message");
  const status = `HTTP ${response.status}`;
  const onHub = url.startsWith(`${endpoint}/`);
  if (code === "GatedRepo") {
    const login = context.hasToken ? "" : " and set a token of that account in HF_TOKEN";
    return downloadFailure({ kind: "gated" }, `${id} is gated, and the Hub refuses access to it (${status})`, {
      where,
      hint: `accept its licence at ${endpoint}/${id}${login}`,
    });
  }
  if (code === "RevisionNotFound") {
    return downloadFailure({ kind: "revision" }, `${id} has no revision "${revision}" (${status})`, { where });
  }
  if (code === "EntryNotFound" || (response.status === 404 && code === null && !url.startsWith(`${endpoint}/api/`))) {
    return downloadFailure({ kind: "file" }, `the file is not in ${id} at revision "${revision}" (${status})`, { where });
  }
  if (onHub && response.status === 401 && said?.startsWith("Invalid credentials")) {
    return downloadFailure({ kind: "token" }, `the Hub rejects the access token (${status})`, {
      where,
      hint: "renew the token in HF_TOKEN or in the token file, or remove it for public models",
    });
  }
  if (code === "RepoNotFound" || (onHub && (response.status === 401 || response.status === 404))) {
    const hint = context.hasToken ? "or the token lacks the right to read it" : "or it is private and needs a token in HF_TOKEN";
    return downloadFailure({ kind: "repository" }, `the Hub has no model ${id} that may be read (${status})`, {
      where,
      hint: `the name may be misspelt, ${hint}`,
    });
  }
  return unexplained(response, where, said);
}

function unexplained(response: Response, where: string, said: string | null): DownloadError {
  const status = `HTTP ${response.status}`;
  const retryAfterMs = parseRetryAfter(response.headers.get("retry-after"));
  if (response.status === 429) {
    const wait = retryAfterMs === undefined ? "" : ` and asks to wait ${Math.ceil(retryAfterMs / 1000)} seconds`;
    return downloadFailure({ kind: "rate", retryAfterMs }, `the Hub limits the number of requests (${status})${wait}`, {
      where,
      hint: "try again later; a token in HF_TOKEN raises the limit",
    });
  }
  if (response.status >= 500 || response.status === 408) {
    return downloadFailure({ kind: "server", retryAfterMs }, `the server fails to answer (${status})`, { where, hint: "try again later" });
  }
  return downloadFailure({ kind: "refused" }, `the server refuses the request (${status})${said === null ? "" : `: ${said}`}`, { where });
}

/** Turns an error of `fetch` itself (no connection, connection cut, timeout) into an error that names the host and the cause. */
export function networkFailure(error: unknown, url: string): DownloadError {
  const parts: string[] = [];
  for (let at: unknown = error; at instanceof Error && parts.length < 3; at = at.cause) {
    const code = "code" in at && typeof at.code === "string" ? at.code : "";
    parts.push(code !== "" && !at.message.includes(code) ? `${at.message} (${code})`.trim() : at.message);
  }
  const reason = parts.filter((part) => part !== "" && part !== "fetch failed" && part !== "terminated").pop() ?? "the connection was cut";
  return downloadFailure({ kind: "network" }, `no connection to ${new URL(url).host}: ${reason}`, {
    where: withoutQuery(url),
    cause: error,
  });
}

/** Addresses of storage hosts carry signatures in their query: they are not for messages. */
export function withoutQuery(url: string): string {
  return url.split("?")[0] ?? url;
}

function parseRetryAfter(value: string | null): number | undefined {
  if (value === null) {
    return undefined;
  }
  const seconds = Number(value);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(value) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}
