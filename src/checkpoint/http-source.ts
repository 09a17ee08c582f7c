/**
 * Bytes and folders over HTTP, read by range.
 *
 * What is read in pieces must be one file: the first answer pins its length and its ETag, every later answer has to agree. A server that
 * ignores ranges is refused before its body is read. What fails in passing (a cut connection, a busy server) is tried again from the byte
 * where it stopped.
 */
import { CheckpointError, DownloadError } from "../errors.ts";
import type { ByteSource, Folder } from "./byte-source.ts";
import { throwIfCancelled } from "./cancel.ts";
import { checkPath } from "./folder.ts";
import { checkRange } from "./memory-source.ts";
import { type RetryOptions, retrying, TransientFailure } from "./retry.ts";

/** How to ask. */
export interface HttpOptions extends RetryOptions {
  /** Sent as a bearer token; fetch drops it when an answer leads to another host. */
  readonly token?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What the first answer said, and every other one must repeat. */
interface Pin {
  readonly sizeBytes: number;
  /** ETag, or else the time of the last change; null if the server gives neither. */
  readonly identity: string | null;
}

/**
 * Opens an address that serves ranges, or returns undefined if there is nothing (404).
 *
 * Errors: DownloadError when the server refuses, ignores ranges or cannot be reached.
 */
export async function openHttp(url: string, options: HttpOptions = {}): Promise<ByteSource | undefined> {
  const request = new RangeRequest(url, options);
  const pin = await request.pin();
  if (pin === undefined) return undefined;
  return {
    name: request.name,
    sizeBytes: pin.sizeBytes,
    file: undefined,
    async read(offset, length, signal) {
      throwIfCancelled(signal);
      checkRange(request.name, pin.sizeBytes, offset, length);
      const bytes = new Uint8Array(length);
      if (length > 0) await request.fill(bytes, offset, pin, signal);
      return bytes;
    },
    async close() {},
  };
}

/** Sees addresses below a base as a folder; `paths` are the files that are there. */
export function httpFolder(baseUrl: string, paths: readonly string[], options: HttpOptions = {}): Folder {
  const base = baseUrl.endsWith("/") ? baseUrl : `${baseUrl}/`;
  const name = publicName(base).slice(0, -1);
  const known = new Set(paths);
  return {
    name,
    async open(path) {
      checkPath(path, name);
      return known.has(path) ? openHttp(base + path.split("/").map(encodeURIComponent).join("/"), options) : undefined;
    },
    async list() {
      return [...known].sort();
    },
  };
}

class RangeRequest {
  readonly name: string;
  readonly #url: string;
  readonly #options: HttpOptions;

  constructor(url: string, options: HttpOptions) {
    this.name = publicName(url);
    this.#url = url;
    this.#options = options;
  }

  /** Learns length and identity from a range of one byte, which an empty file answers with 416. */
  async pin(): Promise<Pin | undefined> {
    return retrying(this.#options, { name: this.name }, async (signal, keepAlive) => {
      const response = await this.#ask(0, 0, null, signal);
      try {
        if (response.status === 404) return undefined;
        const range = response.headers.get("content-range");
        const total = /^bytes (?:0-0|\*)\/(\d+)$/.exec(range ?? "")?.[1];
        const isEmpty = response.status === 416 && total === "0";
        if (!isEmpty) this.#checkAnswer(response);
        const sizeBytes = Number(total);
        if (total === undefined || !Number.isSafeInteger(sizeBytes)) {
          throw new DownloadError(`the server answered with Content-Range ${JSON.stringify(range)}, expected a length`, {
            where: this.name,
          });
        }
        return { sizeBytes, identity: identity(response) };
      } finally {
        keepAlive();
        await discard(response);
      }
    });
  }

  async fill(bytes: Uint8Array, offset: number, pin: Pin, callerSignal: AbortSignal | undefined): Promise<void> {
    let done = 0;
    await retrying(this.#options, { name: this.name, signal: callerSignal, progress: () => done }, async (signal, keepAlive) => {
      const response = await this.#ask(offset + done, offset + bytes.length - 1, pin, signal);
      try {
        this.#checkSame(response, pin, offset + done, offset + bytes.length - 1);
        for await (const piece of pieces(response)) {
          keepAlive();
          if (done + piece.length > bytes.length)
            throw new DownloadError("the server sent more bytes than were asked for", { where: this.name });
          bytes.set(piece, done);
          done += piece.length;
        }
      } finally {
        await discard(response);
      }
      if (done < bytes.length) throw new TransientFailure(`the connection ended after ${done} of ${bytes.length} bytes`);
    });
  }

  #ask(first: number, last: number, pin: Pin | null, signal: AbortSignal): Promise<Response> {
    const headers = new Headers(this.#options.headers);
    // With a range, fetch by itself asks for plain bytes: compressed, they would have other offsets.
    headers.set("range", `bytes=${first}-${last}`);
    if (pin?.identity?.startsWith('"')) headers.set("if-range", pin.identity);
    if (this.#options.token !== undefined) headers.set("authorization", `Bearer ${this.#options.token}`);
    return fetch(this.#url, { headers, signal, redirect: "follow" });
  }

  /** Passes a 206; anything else is an error that says what helps. */
  #checkAnswer(response: Response): void {
    const { status } = response;
    const encoding = response.headers.get("content-encoding");
    if (status === 206 && (encoding === null || encoding === "identity")) return;
    const where = this.name;
    if (status === 206) throw new DownloadError(`the server compresses ranges (${encoding}), expected plain bytes`, { where });
    if (status === 200) {
      throw new DownloadError("the server ignores range requests, expected an answer of 206", {
        where,
        hint: "download the file whole and open it from disk",
      });
    }
    if (status === 401) throw new DownloadError("the server asks who you are (401)", { where, hint: "pass an access token" });
    if (status === 403) {
      throw new DownloadError("the server refuses access (403)", {
        where,
        hint: "the token may lack rights, or a licence has to be accepted",
      });
    }
    if (status === 404) throw new DownloadError("the file is no longer there (404)", { where });
    const message = `the server answered ${status}, expected 206`;
    if (status === 408 || status === 429 || status >= 500) throw new TransientFailure(message, retryAfterMs(response));
    throw new DownloadError(message, { where });
  }

  #checkSame(response: Response, pin: Pin, first: number, last: number): void {
    // A changed file answers If-Range with 200 and its whole body.
    if (response.status === 200 && pin.identity?.startsWith('"') && identity(response) !== pin.identity) throw this.#changed();
    if (response.status === 416 || response.status === 412) throw this.#changed();
    this.#checkAnswer(response);
    const range = response.headers.get("content-range");
    const [, gotFirst, gotLast, total] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(range ?? "") ?? [];
    if (total !== undefined && total !== "*" && Number(total) !== pin.sizeBytes) throw this.#changed();
    if (Number(gotFirst) !== first || Number(gotLast) !== last) {
      throw new DownloadError(`the server answered with Content-Range ${JSON.stringify(range)}, expected bytes ${first}-${last}`, {
        where: this.name,
      });
    }
    if (identity(response) !== pin.identity) throw this.#changed();
  }

  #changed(): DownloadError {
    return new DownloadError("the file changed on the server while it was read", { where: this.name, hint: "start again" });
  }
}

async function* pieces(response: Response): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  try {
    for (let piece = await reader?.read(); piece?.value !== undefined; piece = await reader?.read()) yield piece.value;
  } finally {
    await reader?.cancel().catch(() => {});
  }
}

/** Lets go of a body that is not wanted, without reading it; one that has been read is left alone. */
async function discard(response: Response): Promise<void> {
  if (!response.bodyUsed) await response.body?.cancel().catch(() => {});
}

function identity(response: Response): string | null {
  return response.headers.get("etag") ?? response.headers.get("last-modified");
}

function retryAfterMs(response: Response): number {
  const seconds = Number(response.headers.get("retry-after"));
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds, 60) * 1000 : 0;
}

/** An address without what should not stand in a message: user names, and signed or secret queries. */
function publicName(url: string): string {
  if (!URL.canParse(url)) throw new CheckpointError(`${JSON.stringify(url)} is not an address`);
  const { origin, pathname } = new URL(url);
  return origin + pathname;
}
