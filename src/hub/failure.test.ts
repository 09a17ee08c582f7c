import { expect, test } from "vitest";
import { type Bench, COMMIT, failureFrom, ID, startBench, WEIGHTS } from "../../test/support/hub-bench.ts";
import { DownloadError } from "../errors.ts";
import type { HubOptions } from "./hub-node.ts";

async function gated(bench: Bench): Promise<void> {
  const repository = bench.hub.repositories[ID];
  if (repository !== undefined) {
    repository.gatedToken = "hf_accepted";
  }
}

interface Case {
  what: string;
  prepare: (bench: Bench) => void | Promise<void>;
  options?: HubOptions;
  message: string;
  where?: string;
  hint?: string | undefined;
}

const MISSING = (bench: Bench) => {
  delete bench.hub.repositories[ID];
};

const CASES: Case[] = [
  {
    what: "gated, without a token",
    prepare: gated,
    message: `${ID} is gated, and the Hub refuses access to it (HTTP 401)`,
    where: `ENDPOINT/${ID}/resolve/${COMMIT}/model_index.json`,
    hint: `accept its licence at ENDPOINT/${ID} and set a token of that account in HF_TOKEN`,
  },
  {
    what: "gated, with a token that has not accepted",
    prepare: gated,
    options: { token: "hf_other" },
    message: `${ID} is gated, and the Hub refuses access to it (HTTP 403)`,
    hint: `accept its licence at ENDPOINT/${ID}`,
  },
  {
    what: "no such repository, or a private one, without a token",
    prepare: MISSING,
    message: `the Hub has no model ${ID} that may be read (HTTP 401)`,
    where: `ENDPOINT/api/models/${ID}/revision/main`,
    hint: "the name may be misspelt, or it is private and needs a token in HF_TOKEN",
  },
  {
    what: "no such repository, with a token",
    prepare: MISSING,
    options: { token: "hf_good" },
    message: `the Hub has no model ${ID} that may be read (HTTP 404)`,
    hint: "the name may be misspelt, or the token lacks the right to read it",
  },
  {
    what: "an expired token",
    prepare: () => undefined,
    options: { token: "hf_expired" },
    message: "the Hub rejects the access token (HTTP 401)",
    hint: "renew the token in HF_TOKEN or in the token file, or remove it for public models",
  },
  {
    what: "no such revision",
    prepare: () => undefined,
    options: { revision: "v9" },
    message: `${ID} has no revision "v9" (HTTP 404)`,
    where: `ENDPOINT/api/models/${ID}/revision/v9`,
  },
  {
    what: "a file that is listed but not there",
    prepare: ({ hub }) => {
      hub.faults[`resolve/${COMMIT}/${WEIGHTS}`] = { status: 404, headers: { "x-error-code": "EntryNotFound" } };
    },
    message: `the file is not in ${ID} at revision "main" (HTTP 404)`,
    where: `ENDPOINT/${ID}/resolve/${COMMIT}/${WEIGHTS}`,
  },
  {
    what: "too many requests, with a long wait",
    prepare: ({ hub }) => {
      hub.faults["/api/models"] = { status: 429, headers: { "retry-after": "300" } };
    },
    message: "the Hub limits the number of requests (HTTP 429) and asks to wait 300 seconds",
    hint: "try again later; a token in HF_TOKEN raises the limit",
  },
  {
    what: "a server that fails for good",
    prepare: ({ hub }) => {
      hub.faults["/api/models"] = { status: 503 };
    },
    message: "the server fails to answer (HTTP 503)",
    hint: "try again later",
  },
  {
    what: "a refusal for another reason",
    prepare: ({ hub }) => {
      hub.faults["/api/models"] = { status: 403, headers: { "x-error-message": "Access to this resource is disabled." } };
    },
    message: "the server refuses the request (HTTP 403): Access to this resource is disabled.",
  },
  {
    what: "a redirect to nowhere",
    prepare: ({ hub }) => {
      hub.faults["/resolve/"] = { location: "file:///etc/passwd" };
    },
    message: "the server redirects to file://, expected https",
  },
  {
    what: "redirects in a circle",
    prepare: ({ hub }) => {
      hub.faults["/resolve/"] = { location: `/${ID}/resolve/${COMMIT}/model_index.json` };
    },
    message: "the server redirects more than 8 times",
  },
  {
    what: "something that is no Hub",
    prepare: ({ hub }) => {
      hub.faults["/api/models"] = { status: 200 };
    },
    message: `the server's answer about ${ID} can't be read: SyntaxError: Unexpected end of JSON input`,
    where: "ENDPOINT",
    hint: "HF_ENDPOINT may not be a Hub, or a proxy answers in its place",
  },
];

test.each(CASES)("$what", async ({ prepare, options, message, where, hint }) => {
  const bench = await startBench();
  await prepare(bench);
  const error = await failureFrom(bench.resolve(options));
  const plain = (text: string | undefined) => text?.replaceAll(bench.hub.endpoint, "ENDPOINT");
  expect(error).toBeInstanceOf(DownloadError);
  expect(plain(error.message)).toBe(message);
  if (where !== undefined) {
    expect(plain(error.where)).toBe(where);
  }
  if (hint !== undefined) {
    expect(plain(error.hint)).toBe(hint);
  }
  expect(JSON.stringify([error.message, error.where, error.hint, String(error.cause)])).not.toMatch(/hf_(good|other|expired)|secret/);
  expect((await bench.blobs()).filter((name) => name.includes("incomplete"))).toEqual([]);
});

test("what fails in passing is asked again: 503 twice, 429 with a short wait, then a success", async () => {
  const bench = await startBench();
  bench.hub.faults["/revision/"] = { status: 503, times: 2 };
  bench.hub.faults["/tree/"] = { status: 429, headers: { "retry-after": "0" }, times: 2 };
  bench.hub.faults[`/resolve/${COMMIT}/vae/config.json`] = { status: 502, times: 2 };
  expect((await bench.resolve()).commit).toBe(COMMIT);
});

test("a token opens a private repository, from the environment as well", async () => {
  const bench = await startBench();
  const repository = bench.hub.repositories[ID];
  if (repository !== undefined) {
    repository.token = "hf_good";
  }
  await bench.resolve({}, { variables: { ...bench.surroundings.variables, HF_TOKEN: " hf_good\n" } });
  const sent = bench.hub.seen.filter(({ host }) => host === "hub").map(({ headers }) => headers.authorization);
  expect(new Set(sent)).toEqual(new Set(["Bearer hf_good"]));
  bench.hub.seen.length = 0;
  await failureFrom(bench.resolve({ token: false, revision: "v2" }));
  expect(bench.hub.seen.every(({ headers }) => headers.authorization === undefined)).toBe(true);
});
