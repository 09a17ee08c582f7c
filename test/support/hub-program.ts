/**
 * The fake Hub and resolveModel as programs of their own, for tests that need several processes and for reference/hub_cache.py.
 *
 *   serve REPOSITORIES.json [PORT]   serves until its input ends; prints {"endpoint": …}
 *   resolve ID [OPTIONS.json-text]   prints {"model": …, "events": …} or {"error": …}
 *
 * Compile with `tsc -p test/support/hub-program.tsconfig.json`.
 */

import { HalftoneError } from "../../src/errors.ts";
import { type HubEvent, type HubOptions, resolveModel } from "../../src/hub/hub-node.ts";
import { FakeHub, readRepositories } from "./fake-hub.ts";

async function serve(file: string, port: string | undefined): Promise<void> {
  const hub = await new FakeHub(readRepositories(file)).listen(Number(port ?? 0));
  process.stdout.write(`${JSON.stringify({ endpoint: hub.endpoint })}\n`);
  process.stdin.on("end", () => void hub.close());
  process.stdin.resume();
}

async function resolve(id: string, optionsText: string | undefined): Promise<void> {
  const options = JSON.parse(optionsText ?? "{}") as HubOptions;
  const events: HubEvent[] = [];
  try {
    const model = await resolveModel(id, { ...options, onProgress: (event) => events.push(event) });
    process.stdout.write(`${JSON.stringify({ model, events })}\n`);
  } catch (error) {
    const { name, message } = error as Error;
    const where = error instanceof HalftoneError ? error.where : undefined;
    process.stdout.write(`${JSON.stringify({ error: { name, message, where }, events })}\n`);
    process.exitCode = 1;
  }
}

const [command, ...rest] = process.argv.slice(2);
if (command === "serve") {
  await serve(rest[0] ?? "", rest[1]);
} else if (command === "resolve") {
  await resolve(rest[0] ?? "", rest[1]);
}
