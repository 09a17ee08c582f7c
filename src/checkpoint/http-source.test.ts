/** Ranges over HTTP against a real server on this machine, sound and broken in every way that matters. */
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { caught } from "../../test/support/caught.ts";
import { byteSourceContract, folderContract } from "./byte-source.contract.ts";
import type { ByteSource } from "./byte-source.ts";
import { openFolder } from "./file-source-node.ts";
import { type HttpOptions, httpFolder, openHttp } from "./http-source.ts";
import { readTensor, type StoredTensor } from "./stored-tensor.ts";
import { openWeights } from "./weight-store.ts";

const QUICK: HttpOptions = { attempts: 3, retryDelayMs: 1, timeoutMs: 2000 };
const TEXT = "0123456789abcdefghij";

let server: Server;
let base: string;
let files: Map<string, Uint8Array>;
let requests: IncomingMessage[];
/** Replaces the sound answer when it returns true. */
let misbehave: (request: IncomingMessage, response: ServerResponse, count: number) => boolean;

beforeEach(async () => {
  files = new Map([["/a.bin", new TextEncoder().encode(TEXT)]]);
  requests = [];
  misbehave = () => false;
  server = createServer((request, response) => {
    requests.push(request);
    if (!misbehave(request, response, requests.length)) answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function answer(request: IncomingMessage, response: ServerResponse, etag = '"v1"'): void {
  const bytes = files.get(decodeURIComponent(new URL(request.url ?? "", base).pathname));
  if (bytes === undefined) return void response.writeHead(404).end();
  const [, first, last] = (/^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? []).map(Number);
  if (first === undefined || last === undefined) return void response.writeHead(200, { etag }).end(bytes);
  if (request.headers["if-range"] !== undefined && request.headers["if-range"] !== etag)
    return void response.writeHead(200, { etag }).end(bytes);
  if (first >= bytes.length) return void response.writeHead(416, { "content-range": `bytes */${bytes.length}`, etag }).end();
  const end = Math.min(last + 1, bytes.length);
  response.writeHead(206, { "content-range": `bytes ${first}-${end - 1}/${bytes.length}`, "content-length": end - first, etag });
  response.end(bytes.subarray(first, end));
}

async function open(options: HttpOptions = QUICK): Promise<ByteSource> {
  return (await openHttp(`${base}/a.bin`, options)) as ByteSource;
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

describe("openHttp", () => {
  let count = 0;
  byteSourceContract(async (bytes) => {
    files.set(`/${count}.bin`, bytes);
    return (await openHttp(`${base}/${count++}.bin`, QUICK)) as ByteSource;
  });

  it("asks for ranges of plain bytes only, with the token and the headers it was given", async () => {
    const source = await open({ ...QUICK, token: "secret", headers: { "user-agent": "test" } });
    expect(source.name).toBe(`${base}/a.bin`);
    expect(text(await source.read(10, 5))).toBe("abcde");
    expect(requests.map(({ headers }) => [headers.range, headers["if-range"], headers.authorization, headers["user-agent"]])).toEqual([
      ["bytes=0-0", undefined, "Bearer secret", "test"],
      ["bytes=10-14", '"v1"', "Bearer secret", "test"],
    ]);
    expect(requests.every(({ headers }) => headers["accept-encoding"] === "identity")).toBe(true);
  });

  it("keeps queries and user names out of messages", async () => {
    const source = await openHttp(`${base.replace("//", "//")}/a.bin?signature=secret`, QUICK);
    expect(source?.name).toBe(`${base}/a.bin`);
    expect((await caught(openHttp("no address"))).message).toBe('"no address" is not an address');
  });

  it("returns undefined for a file that is not there", async () => {
    expect(await openHttp(`${base}/b.bin`, QUICK)).toBeUndefined();
  });

  it("follows redirects", async () => {
    misbehave = (request, response) => request.url === "/a.bin" && Boolean(response.writeHead(302, { location: "/cdn/x" }).end());
    files.set("/cdn/x", new TextEncoder().encode("elsewhere"));
    expect(text(await (await open()).read(4, 5))).toBe("where");
  });

  it.each<[number, string, string | undefined]>([
    [401, "the server asks who you are (401)", "pass an access token"],
    [403, "the server refuses access (403)", "the token may lack rights, or a licence has to be accepted"],
    [410, "the server answered 410, expected 206", undefined],
    [503, "the download failed 3 times, the last time with: the server answered 503, expected 206", "try again later"],
  ])("explains an answer of %d", async (status, message, hint) => {
    misbehave = (_, response) => Boolean(response.writeHead(status).end());
    const error = { kind: "DownloadError", message, where: `${base}/a.bin`, ...(hint === undefined ? {} : { hint }) };
    expect(await caught(open())).toEqual(error);
    expect(requests).toHaveLength(status === 503 ? 3 : 1);
  });

  it("says when nobody answers", async () => {
    const url = `${base}/a.bin`;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    expect((await caught(openHttp(url, QUICK))).message).toBe("the download failed 3 times, the last time with: ECONNREFUSED");
    server = createServer().listen(0);
  });

  it("refuses a server that ignores ranges, without reading what it sends", async () => {
    let sent = 0;
    misbehave = (_, response) => {
      response.writeHead(200, { "content-length": 2 ** 32 });
      const more = () => {
        while (response.write(new Uint8Array(65536)) && sent < 2 ** 28) sent += 65536;
      };
      response.on("drain", more);
      more();
      return true;
    };
    expect(await caught(open())).toEqual({
      kind: "DownloadError",
      message: "the server ignores range requests, expected an answer of 206",
      where: `${base}/a.bin`,
      hint: "download the file whole and open it from disk",
    });
    expect(sent).toBeLessThan(2 ** 24);
  });

  it("refuses ranges that are compressed, shifted, without a length, or too long", async () => {
    misbehave = (_, response) => Boolean(response.writeHead(206, { "content-encoding": "gzip", "content-range": "bytes 0-0/20" }).end());
    expect((await caught(open())).message).toBe("the server compresses ranges (gzip), expected plain bytes");
    misbehave = (_, response) => Boolean(response.writeHead(206, { "content-range": "bytes 0-0/*" }).end("0"));
    expect((await caught(open())).message).toBe('the server answered with Content-Range "bytes 0-0/*", expected a length');
    misbehave = () => false;
    const source = await open();
    misbehave = (_, response) => Boolean(response.writeHead(206, { "content-range": "bytes 3-7/20", etag: '"v1"' }).end("34567"));
    expect((await caught(source.read(2, 5))).message).toBe('the server answered with Content-Range "bytes 3-7/20", expected bytes 2-6');
    misbehave = (_, response) => Boolean(response.writeHead(206, { "content-range": "bytes 2-6/20", etag: '"v1"' }).end("2345678"));
    expect((await caught(source.read(2, 5))).message).toBe("the server sent more bytes than were asked for");
  });

  it.each<[string, (request: IncomingMessage, response: ServerResponse) => void]>([
    ["another ETag, honouring If-Range", (request, response) => answer(request, response, '"v2"')],
    [
      "another ETag, ignoring If-Range",
      (_, response) => response.writeHead(206, { "content-range": "bytes 2-6/20", etag: '"v2"' }).end("23456"),
    ],
    ["another length", (_, response) => response.writeHead(206, { "content-range": "bytes 2-6/21", etag: '"v1"' }).end("23456")],
    ["a range that is no more", (_, response) => response.writeHead(416, { "content-range": "bytes */1", etag: '"v1"' }).end()],
  ])("notices that the file changed: %s", async (_, broken) => {
    const source = await open();
    misbehave = (request, response) => {
      broken(request, response);
      return true;
    };
    expect(await caught(source.read(2, 5))).toEqual({
      kind: "DownloadError",
      message: "the file changed on the server while it was read",
      where: `${base}/a.bin`,
      hint: "start again",
    });
  });

  it("goes on where a connection was cut, as long as each try brings something", async () => {
    const source = await open({ ...QUICK, attempts: 2 });
    misbehave = (request, response) => {
      const first = Number(/^bytes=(\d+)/.exec(request.headers.range ?? "")?.[1]);
      if (first >= 18) return false;
      response.writeHead(206, { "content-range": `bytes ${first}-19/20`, "content-length": 20 - first, etag: '"v1"' });
      response.write(TEXT.slice(first, first + 6), () => setTimeout(() => response.destroy(), 20));
      return true;
    };
    expect(text(await source.read(0, 20))).toBe(TEXT);
    expect(requests.slice(1).map(({ headers }) => headers.range)).toEqual(["bytes=0-19", "bytes=6-19", "bytes=12-19", "bytes=18-19"]);
  });

  it("gives up on a connection that is always cut, or ends early", async () => {
    const source = await open();
    misbehave = (_, response) => Boolean(response.writeHead(206, { "content-range": "bytes 0-19/20", etag: '"v1"' }).end());
    expect((await caught(source.read(0, 20))).message).toBe(
      "the download failed 3 times, the last time with: the connection ended after 0 of 20 bytes",
    );
    misbehave = (_, response) => Boolean(response.destroy());
    expect((await caught(source.read(0, 20))).message).toMatch(
      /^the download failed 3 times, the last time with: (UND_ERR_SOCKET|ECONNRESET)$/,
    );
  });

  it("waits as long as a busy server asks", async () => {
    const source = await open();
    misbehave = (_, response, count) => count === 2 && Boolean(response.writeHead(429, { "retry-after": "1" }).end());
    const start = performance.now();
    expect(text(await source.read(0, 3))).toBe("012");
    expect(performance.now() - start).toBeGreaterThan(950);
  });

  it("gives up on silence, before an answer and within it", async () => {
    misbehave = () => true;
    expect((await caught(open({ attempts: 2, retryDelayMs: 1, timeoutMs: 50 }))).message).toBe(
      "the download failed 2 times, the last time with: nothing came for 0.05 seconds",
    );
    misbehave = () => false;
    const source = await open({ attempts: 2, retryDelayMs: 1, timeoutMs: 50 });
    misbehave = (_, response) => {
      response.writeHead(206, { "content-range": "bytes 0-19/20", etag: '"v1"' }).write("0");
      return true;
    };
    expect((await caught(source.read(0, 20))).kind).toBe("DownloadError");
  });

  it.each(["while it waits for bytes", "while it waits to try again"])("stops %s", async (moment) => {
    const source = await open({ attempts: 9, retryDelayMs: 60_000 });
    misbehave = (_, response) => (moment.endsWith("bytes") ? true : Boolean(response.writeHead(500).end()));
    const controller = new AbortController();
    const reading = caught(source.read(0, 20, controller.signal));
    setTimeout(() => controller.abort(), 50);
    expect(await reading).toEqual({ kind: "CancelledError", message: "reading was cancelled" });
    misbehave = () => false;
    expect(text(await source.read(0, 20))).toBe(TEXT);
  });
});

describe("httpFolder", () => {
  folderContract(async (contents) => {
    for (const [path, content] of Object.entries(contents)) files.set(`/models/x/${path}`, new TextEncoder().encode(content));
    return httpFolder(`${base}/models/x`, Object.keys(contents), QUICK);
  });

  it("serves a component in shards, of which only what is asked for is read", async () => {
    const disk = await openFolder("test/fixtures/checkpoint/sharded");
    const names = (await disk.list()).filter((path) => path.startsWith("transformer/"));
    for (const name of names) files.set(`/${name}`, new Uint8Array(readFileSync(`test/fixtures/checkpoint/sharded/${name}`)));
    const local = await openWeights(disk, "transformer");
    const remote = await openWeights(httpFolder(base, names, QUICK), "transformer");
    expect([...remote.tensors.keys()].sort()).toEqual([...local.tensors.keys()].sort());
    const before = requests.length;
    for (const [name, tensor] of [...remote.tensors].slice(0, 5)) {
      expect(await readTensor(tensor)).toEqual(await readTensor(local.tensors.get(name) as StoredTensor));
    }
    // The index and three shards were each opened and read once; then a request for each tensor.
    expect([before, requests.length]).toEqual([8, 13]);
    await Promise.all([local.close(), remote.close()]);
  });
});
