/**
 * Talks to one repository of the Hub: resolves a revision, lists files, opens files.
 *
 * Requests and their pages are @huggingface/hub's; underneath lies a `fetch` of our own that adds the token (to the Hub's own origin and to
 * no other, whatever a redirect or a page link says), follows redirects by hand, gives up on a silent server, tries again after failures
 * that pass, and speaks in our errors.
 */

import { CancelledError, HalftoneError } from "../errors.ts";
import { downloadFailure, failureOf, failureOfResponse, networkFailure, type RequestContext } from "./failure.ts";
import { type HubFile, type Listing, parseServerEntry } from "./listing.ts";

/** How to reach a repository. */
export interface HubConnection {
  readonly id: string;
  readonly revision: string;
  /** Address of the Hub without "/" at its end. */
  readonly endpoint: string;
  readonly token: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly fetch: typeof fetch;
  /** Pause before the second try; it doubles with each further one. */
  readonly retryDelayMs: number;
  /** How long a server may stay silent. */
  readonly silenceMs: number;
}

/** An answer and the address that gave it; `hub` is the Hub's own first answer, which names the hash of a file that lies elsewhere. */
export interface OpenedResponse {
  readonly response: Response;
  readonly url: string;
  readonly hub: Response;
}

const TRIES = 5;
const NETWORK_TRIES = 2;
const LONGEST_WAIT_MS = 60_000;
const MOST_REDIRECTS = 8;
const MOST_FILES = 200_000;

/** The Hub as seen from one repository. */
export class HubClient {
  readonly connection: HubConnection;
  readonly #context: RequestContext;

  constructor(connection: HubConnection) {
    this.connection = connection;
    const { id, endpoint, revision, token } = connection;
    this.#context = { id, endpoint, revision, hasToken: token !== undefined };
  }

  /** A `fetch` that only ever returns success: the token, redirects, retries and errors are dealt with. */
  readonly fetch: typeof fetch = async (input, init) => {
    const url = typeof input === "string" ? input : input instanceof URL ? input.href : input.url;
    return (await this.retrying(() => this.open(url, init), NETWORK_TRIES)).response;
  };

  /** Returns the commit that the connection's revision stands for. */
  async resolveCommit(): Promise<string> {
    const { modelInfo } = await import("@huggingface/hub");
    const { id, endpoint, revision } = this.connection;
    const info = await this.#ask(() => modelInfo({ name: id, revision, hubUrl: endpoint, fetch: this.fetch, additionalFields: ["sha"] }));
    const commit: unknown = info.sha;
    if (typeof commit !== "string" || !/^[0-9a-f]{40}$/.test(commit)) {
      throw downloadFailure({ kind: "content" }, `the server names no commit for revision "${revision}" of ${id}`, {
        where: endpoint,
        hint: "HF_ENDPOINT may not be a Hub",
      });
    }
    return commit;
  }

  /** Lists all files at a commit. */
  async list(commit: string): Promise<Listing> {
    const { listFiles } = await import("@huggingface/hub");
    const { id, endpoint } = this.connection;
    return this.#ask(async () => {
      const files = new Map<string, HubFile>();
      for await (const entry of listFiles({
        repo: { type: "model", name: id },
        recursive: true,
        revision: commit,
        hubUrl: endpoint,
        fetch: this.fetch,
      })) {
        if (entry.type === "file") {
          const file = parseServerEntry(entry, id);
          files.set(file.path, file);
        }
        if (files.size > MOST_FILES) {
          throw downloadFailure({ kind: "content" }, `${id} has more than ${MOST_FILES} files, expected a model`, { where: endpoint });
        }
      }
      return files;
    });
  }

  /** Returns the address of a file at a commit. */
  fileUrl(commit: string, path: string): string {
    const { endpoint, id } = this.connection;
    return `${endpoint}/${id}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
  }

  /**
   * Makes one request and follows its redirects; the token goes to the Hub's origin only, and so does a condition on the Hub's ETag.
   *
   * Errors: DownloadError for every answer but a success and 416; CancelledError.
   */
  async open(url: string, init: RequestInit = {}, elsewhere: HeadersInit = {}): Promise<OpenedResponse> {
    const { endpoint, token } = this.connection;
    const origin = new URL(endpoint).origin;
    let at = url;
    let hub: Response | undefined;
    for (let hop = 0; hop <= MOST_REDIRECTS; hop++) {
      const headers = new Headers(init.headers);
      headers.delete("authorization");
      headers.set("user-agent", "halftone");
      if (new URL(at).origin === origin) {
        if (token !== undefined) {
          headers.set("authorization", `Bearer ${token}`);
        }
      } else {
        headers.delete("if-range");
        for (const [name, value] of new Headers(elsewhere)) {
          headers.set(name, value);
        }
      }
      const response = await this.#request(at, { ...init, headers, redirect: "manual" });
      hub ??= response;
      const location = response.headers.get("location");
      if (response.status < 300 || response.status >= 400 || location === null) {
        if (response.ok || response.status === 416) {
          return { response, url: at, hub };
        }
        await response.body?.cancel().catch(() => undefined);
        throw failureOfResponse(response, at, this.#context);
      }
      await response.body?.cancel().catch(() => undefined);
      at = redirectTarget(at, location);
    }
    throw downloadFailure({ kind: "refused" }, `the server redirects more than ${MOST_REDIRECTS} times`, { where: url });
  }

  /**
   * Repeats an attempt that failed for a passing reason (no connection, server error, too many requests), with growing pauses.
   *
   * `progressed` tells that the last attempt got something, and starts the count of tries anew.
   */
  async retrying<T>(attempt: () => Promise<T>, networkTries: number = TRIES, progressed: () => boolean = () => false): Promise<T> {
    for (let tried = 1; ; tried++) {
      try {
        return await attempt();
      } catch (error) {
        this.throwIfCancelled();
        const failure = failureOf(error);
        tried = progressed() ? 1 : tried;
        const passing = failure?.kind === "server" || failure?.kind === "rate" || failure?.kind === "network";
        const tries = failure?.kind === "network" ? networkTries : TRIES;
        const wait = failure?.retryAfterMs ?? this.connection.retryDelayMs * 2 ** (tried - 1);
        if (!passing || tried >= tries || wait > LONGEST_WAIT_MS) {
          throw error;
        }
        await this.#pause(wait);
      }
    }
  }

  /** Throws CancelledError if the caller's signal is aborted. */
  throwIfCancelled(): void {
    const { signal, id } = this.connection;
    if (signal?.aborted) {
      throw new CancelledError(`the download of ${id} was cancelled`, { cause: signal.reason });
    }
  }

  async #request(url: string, init: RequestInit): Promise<Response> {
    this.throwIfCancelled();
    const { silenceMs } = this.connection;
    const silence = new AbortController();
    const timer = setTimeout(() => silence.abort(new Error(`no answer within ${silenceMs / 1000} seconds`)), silenceMs);
    const signals = [silence.signal, this.connection.signal, init.signal].filter((signal) => signal !== undefined && signal !== null);
    try {
      return await this.connection.fetch(url, { ...init, signal: AbortSignal.any(signals) });
    } catch (error) {
      this.throwIfCancelled();
      if (init.signal?.aborted) {
        throw error;
      }
      throw networkFailure(error, url);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The library's own errors (a body that is cut, an answer that is not JSON) become ours; what may pass is tried again. */
  async #ask<T>(work: () => Promise<T>): Promise<T> {
    return this.retrying(async () => {
      try {
        return await work();
      } catch (error) {
        this.throwIfCancelled();
        if (error instanceof HalftoneError) {
          throw error;
        }
        const { endpoint, id } = this.connection;
        if (error instanceof TypeError && error.message === "terminated") {
          throw networkFailure(error, endpoint);
        }
        throw downloadFailure({ kind: "content" }, `the server's answer about ${id} can't be read: ${String(error)}`, {
          where: endpoint,
          hint: "HF_ENDPOINT may not be a Hub, or a proxy answers in its place",
          cause: error,
        });
      }
    }, NETWORK_TRIES);
  }

  async #pause(ms: number): Promise<void> {
    const { signal } = this.connection;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal?.addEventListener("abort", done);
    });
    this.throwIfCancelled();
  }
}

function redirectTarget(from: string, location: string): string {
  let target: URL;
  try {
    target = new URL(location, from);
  } catch (cause) {
    throw downloadFailure({ kind: "refused" }, `the server redirects to "${location}", which is not an address`, { where: from, cause });
  }
  const downgrade = from.startsWith("https:") && target.protocol !== "https:";
  if (downgrade || (target.protocol !== "https:" && target.protocol !== "http:")) {
    throw downloadFailure({ kind: "refused" }, `the server redirects to ${target.protocol}//${target.host}, expected https`, {
      where: from,
    });
  }
  return target.href;
}
