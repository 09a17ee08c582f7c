/**
 * A small Hub for tests: real HTTP on two ports (the Hub itself, and the storage host that it redirects large files to), with the addresses,
 * headers, redirects and error codes that huggingface_hub 2.4.0 and @huggingface/hub 2.17.5 rely on. Faults can be planted per file.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A repository: commits by hash, each with the content of its files, and the names of commits. */
export interface FakeRepository {
  commits: Record<string, Record<string, string | Uint8Array>>;
  refs: Record<string, string>;
  /** Token that opens the repository; without one it is public. */
  token?: string;
  /** A gated repository is visible to all, but its files need this token. */
  gatedToken?: string;
}

/** What goes wrong with one file, or with all requests whose path contains the key. */
export interface Fault {
  /** Answers with this status as often as told (for good by default). */
  status?: number;
  headers?: Record<string, string>;
  times?: number;
  /** The storage host cuts the connection after so many bytes of an answer. */
  cutAfterBytes?: number;
  /** The storage host sends other bytes than the right ones. */
  wrongContent?: boolean;
  /** The storage host ends early without an error. */
  endAfterBytes?: number;
  /** The storage host answers 200 with everything to a request for a range. */
  ignoreRange?: boolean;
  /** The Hub names another hash. */
  linkedEtag?: string;
  /** ETag of the storage host by the number of the answer; a plain number by default. */
  storageEtags?: string[];
  /** Bytes per 10 ms. */
  slowBytes?: number;
  /** Sends nothing more after so many bytes. */
  stallAfterBytes?: number;
  /** Redirects there. */
  location?: string;
}

/** A request that was received. */
export interface Seen {
  readonly host: "hub" | "storage";
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
}

interface Entry {
  path: string;
  bytes: Buffer;
  gitId: string;
  sha256: string | undefined;
}

/** Reads repositories whose binary files are written as {"bytes": n, "seed": k}. */
export function readRepositories(file: string): Record<string, FakeRepository> {
  const text = readFileSync(file, "utf8");
  return JSON.parse(text, (_, value: unknown) => {
    if (typeof value === "object" && value !== null && "bytes" in value && "seed" in value) {
      return patternBytes(Number(value.bytes), Number(value.seed));
    }
    return value;
  }) as Record<string, FakeRepository>;
}

/** Bytes that differ from place to place, the same for the same seed. */
export function patternBytes(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

const LARGE = /\.(?:safetensors|bin|model|onnx|msgpack|png)$/;

/** The servers; close() them. */
export class FakeHub {
  readonly repositories: Record<string, FakeRepository>;
  faults: Record<string, Fault> = {};
  readonly seen: Seen[] = [];
  /** Entries of a listing per page. */
  pageSize = 1000;
  /** Host of the links to further pages; the Hub's own by default. */
  pageHost: string | undefined;
  /** Added to each listing, raw. */
  extraEntries: unknown[] = [];
  #hub: Server;
  #storage: Server;
  #answers = new Map<string, number>();

  constructor(repositories: Record<string, FakeRepository>) {
    this.repositories = repositories;
    this.#hub = createServer((request, response) => this.#guard("hub", request, response, () => this.#serveHub(request, response)));
    this.#storage = createServer((request, response) =>
      this.#guard("storage", request, response, () => this.#serveStorage(request, response)),
    );
  }

  async listen(port = 0): Promise<this> {
    await new Promise<void>((resolve) => this.#hub.listen(port, "127.0.0.1", resolve));
    await new Promise<void>((resolve) => this.#storage.listen(0, "127.0.0.1", resolve));
    return this;
  }

  /** Bytes that the storage host was asked for by range. */
  get rangeBytes(): number {
    const ranges = this.seen.filter(({ host }) => host === "storage").map(({ headers }) => /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? ""));
    return ranges.reduce((sum, range) => sum + Number(range?.[2]) - Number(range?.[1]) + 1, 0);
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#hub.address() as AddressInfo).port}`;
  }

  get storageEndpoint(): string {
    return `http://127.0.0.1:${(this.#storage.address() as AddressInfo).port}`;
  }

  /** Paths of files that were asked for, with the range if there was one. */
  fetched(): string[] {
    const gets = this.seen.filter(({ method, url }) => method === "GET" && /\/(resolve|blob)\//.test(url));
    return gets.map(
      ({ host, url, headers }) => `${host} ${url.replace(/\?.*/, "")}${headers.range === undefined ? "" : ` ${headers.range}`}`,
    );
  }

  async close(): Promise<void> {
    for (const server of [this.#hub, this.#storage]) {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    }
  }

  #guard(host: Seen["host"], request: IncomingMessage, response: ServerResponse, serve: () => void): void {
    this.seen.push({ host, method: request.method ?? "", url: request.url ?? "", headers: request.headers });
    try {
      serve();
    } catch (error) {
      response.writeHead(500).end(String(error));
    }
  }

  #serveHub(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "/", this.endpoint);
    const path = url.pathname;
    const fault = this.#fault(path, (candidate) => candidate.status !== undefined || candidate.location !== undefined);
    if (fault?.status !== undefined || fault?.location !== undefined) {
      const location = fault.location === undefined ? {} : { location: fault.location };
      response.writeHead(fault.status ?? 302, { ...location, ...fault.headers }).end();
      return;
    }
    const api = /^\/api\/models\/([^/]+\/[^/]+)(?:\/(revision|tree)\/([^/]+))?$/.exec(path);
    const file = /^\/(?:api\/resolve-cache\/models\/)?([^/]+\/[^/]+)\/(?:resolve\/)?([^/]+)\/(.+)$/.exec(path);
    const id = api?.[1] ?? file?.[1] ?? "";
    const revision = decodeURIComponent(api === null ? (file?.[2] ?? "") : (api[3] ?? "main"));
    const repository = this.#open(id, request, response, api === null);
    if (repository === undefined) {
      return;
    }
    const commit = repository.refs[revision] ?? revision;
    const entries = repository.commits[commit];
    if (entries === undefined) {
      fail(response, 404, "RevisionNotFound", `Invalid rev id: ${revision}`);
    } else if (api !== null && api[2] !== "tree") {
      const siblings = Object.keys(entries).map((rfilename) => ({ rfilename }));
      json(response, { _id: "000000000000000000000001", id, modelId: id, sha: commit, private: false, gated: false, tags: [], siblings });
    } else if (api !== null) {
      this.#serveTree(url, entries, response);
    } else {
      this.#serveFile(id, commit, decodeURIComponent(file?.[3] ?? ""), path.startsWith("/api/"), request, response);
    }
  }

  /** Refuses as the Hub does: 401 for what may not exist, unless a token says that it does not. */
  #open(id: string, request: IncomingMessage, response: ServerResponse, isFile: boolean): FakeRepository | undefined {
    const repository = this.repositories[id];
    const token = request.headers.authorization?.replace("Bearer ", "");
    if (token === "hf_expired") {
      fail(response, 401, undefined, "Invalid credentials in Authorization header");
    } else if (repository === undefined || (repository.token !== undefined && repository.token !== token)) {
      fail(response, token === undefined ? 401 : 404, "RepoNotFound", "Repository not found");
    } else if (isFile && repository.gatedToken !== undefined && repository.gatedToken !== token) {
      fail(response, token === undefined ? 401 : 403, "GatedRepo", `Access to model ${id} is restricted`);
    } else {
      return repository;
    }
    return undefined;
  }

  #serveTree(url: URL, files: Record<string, string | Uint8Array>, response: ServerResponse): void {
    const all: unknown[] = [...this.extraEntries];
    const folders = new Set<string>();
    for (const [path, content] of Object.entries(files)) {
      for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) {
        folders.add(path.slice(0, at));
      }
      const { gitId, sha256, bytes } = describe(path, content);
      const lfs = sha256 === undefined ? {} : { lfs: { oid: sha256, size: bytes.length, pointerSize: 134 } };
      all.push({ type: "file", oid: gitId, size: bytes.length, path, ...lfs });
    }
    all.push(...[...folders].map((path) => ({ type: "directory", oid: gitHash(Buffer.from(path)), size: 0, path })));
    const start = Number(url.searchParams.get("cursor") ?? 0);
    const next = start + this.pageSize;
    if (next < all.length) {
      url.searchParams.set("cursor", String(next));
      response.setHeader("link", `<${this.pageHost ?? this.endpoint}${url.pathname}${url.search}>; rel="next"`);
    }
    json(response, all.slice(start, next));
  }

  #serveFile(id: string, commit: string, path: string, cached: boolean, request: IncomingMessage, response: ServerResponse): void {
    response.setHeader("x-repo-commit", commit);
    const content = this.repositories[id]?.commits[commit]?.[path];
    if (content === undefined) {
      fail(response, 404, "EntryNotFound", "Entry not found");
      return;
    }
    const entry = describe(path, content);
    const etag = `"${this.#fault(path, (fault) => fault.linkedEtag !== undefined, false)?.linkedEtag ?? entry.sha256 ?? entry.gitId}"`;
    if (entry.sha256 !== undefined) {
      const target = `${this.storageEndpoint}/blob/${entry.sha256}/${encodeURIComponent(path)}?signature=secret`;
      const linked = { "x-linked-etag": etag, "x-linked-size": String(entry.bytes.length) };
      response.writeHead(302, { location: target, ...linked, "accept-ranges": "bytes" }).end(`Found. Redirecting to ${target}`);
    } else if (!cached) {
      const linked = { "x-linked-etag": etag, "x-linked-size": String(entry.bytes.length) };
      response.writeHead(307, { location: `/api/resolve-cache/models/${id}/${commit}/${encodeURIComponent(path)}`, ...linked }).end();
    } else {
      response.setHeader("etag", etag);
      this.#send(entry, request, response);
    }
  }

  #serveStorage(request: IncomingMessage, response: ServerResponse): void {
    const [, , sha256, name] = new URL(request.url ?? "/", this.storageEndpoint).pathname.split("/");
    const path = decodeURIComponent(name ?? "");
    for (const repository of Object.values(this.repositories)) {
      for (const files of Object.values(repository.commits)) {
        const content = files[path];
        const entry = content === undefined ? undefined : describe(path, content);
        if (entry !== undefined && entry.sha256 === sha256) {
          const count = this.#answers.get(path) ?? 0;
          this.#answers.set(path, count + 1);
          const etags = this.#fault(path, (fault) => fault.storageEtags !== undefined, false)?.storageEtags ?? ['"storage-1"'];
          response.setHeader("etag", etags[Math.min(count, etags.length - 1)] ?? "");
          this.#send(entry, request, response);
          return;
        }
      }
    }
    fail(response, 404, undefined, "NoSuchKey");
  }

  #send(entry: Entry, request: IncomingMessage, response: ServerResponse): void {
    const fault = this.#fault(entry.path, (candidate) => candidate.status === undefined && candidate.linkedEtag === undefined) ?? {};
    let { bytes } = entry;
    if (fault.wrongContent === true) {
      bytes = Buffer.from(bytes);
      bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
    }
    response.setHeader("accept-ranges", "bytes");
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const condition = request.headers["if-range"];
    let from = 0;
    let to = bytes.length;
    let status = 200;
    if (range !== null && fault.ignoreRange !== true && (condition === undefined || condition === response.getHeader("etag"))) {
      from = Number(range[1]);
      to = range[2] === "" ? to : Math.min(to, Number(range[2]) + 1);
      status = 206;
      if (from >= bytes.length) {
        response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
        return;
      }
      response.setHeader("content-range", `bytes ${from}-${to - 1}/${bytes.length}`);
    }
    const body = bytes.subarray(from, to);
    response.writeHead(status, fault.endAfterBytes === undefined ? { "content-length": String(body.length) } : {});
    if (request.method === "HEAD") {
      response.end();
    } else {
      void sendBody(body, fault, response);
    }
  }

  #fault(path: string, fits: (fault: Fault) => boolean, counts = true): Fault | undefined {
    for (const [key, fault] of Object.entries(this.faults)) {
      if (path.includes(key) && fits(fault) && (fault.times !== 0 || !counts)) {
        if (fault.times !== undefined && counts) {
          fault.times--;
        }
        return fault;
      }
    }
    return undefined;
  }
}

async function sendBody(body: Buffer, fault: Fault, response: ServerResponse): Promise<void> {
  const limit = fault.cutAfterBytes ?? fault.endAfterBytes ?? fault.stallAfterBytes ?? body.length;
  const step = fault.slowBytes ?? 65_536;
  for (let at = 0; at < Math.min(limit, body.length); at += step) {
    const goesOn = response.write(body.subarray(at, Math.min(at + step, limit)));
    if (!goesOn) {
      await drained(response);
    }
    if (fault.slowBytes !== undefined) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    if (response.destroyed) {
      return;
    }
  }
  if (fault.cutAfterBytes !== undefined && fault.cutAfterBytes < body.length) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    response.destroy();
  } else if (fault.stallAfterBytes === undefined) {
    response.end();
  }
}

async function drained(response: ServerResponse): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      response.off("drain", done).off("close", done);
      resolve();
    };
    response.on("drain", done).on("close", done);
  });
}

const described = new WeakMap<Uint8Array, Entry>();

function describe(path: string, content: string | Uint8Array): Entry {
  const known = typeof content === "string" ? undefined : described.get(content);
  if (known?.path === path) {
    return known;
  }
  const bytes = Buffer.from(content);
  const sha256 = LARGE.test(path) ? createHash("sha256").update(bytes).digest("hex") : undefined;
  const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${sha256}\nsize ${bytes.length}\n`;
  const entry = { path, bytes, sha256, gitId: gitHash(sha256 === undefined ? bytes : Buffer.from(pointer)) };
  if (typeof content !== "string") {
    described.set(content, entry);
  }
  return entry;
}

function gitHash(bytes: Buffer): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

function json(response: ServerResponse, value: unknown): void {
  response.writeHead(200, { "content-type": "application/json; charset=utf-8" }).end(JSON.stringify(value));
}

function fail(response: ServerResponse, status: number, code: string | undefined, message: string): void {
  const headers = code === undefined ? {} : { "x-error-code": code };
  response.writeHead(status, { "content-type": "application/json; charset=utf-8", "x-error-message": message, ...headers });
  response.end(JSON.stringify({ error: message }));
}
