/**
 * halftone cache: what the execution cache keeps (weights that were quantized before a picture was made), where, and how to free it.
 *
 * Downloads are not in it: they lie in the cache of Python's tools, which have commands of their own.
 */
import { clearWeightCache, listWeightCache, UsageError, weightCacheFolder, weightCacheLimit } from "../index.ts";
import type { Terminal } from "./surroundings.ts";
import { bytesText, visibleText } from "./units.ts";

/** Runs the command; `action` is "list" unless given. */
export async function cache(action: string | undefined, flags: { json?: boolean }, { stdout, stderr }: Terminal): Promise<void> {
  if (action !== undefined && action !== "list" && action !== "clear") {
    throw new UsageError(`cache expects list or clear, got ${JSON.stringify(action)}`);
  }
  const files = action === "clear" ? await clearWeightCache() : await listWeightCache();
  const sizeBytes = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const folder = weightCacheFolder();
  const limitBytes = weightCacheLimit();
  if (flags.json === true) {
    const report = { folder, limitBytes, sizeBytes, files: files.map((file) => ({ ...file, used: new Date(file.usedMs).toISOString() })) };
    stdout.write(`${JSON.stringify(action === "clear" ? { ...report, cleared: true } : report, undefined, 2)}\n`);
    return;
  }
  if (action === "clear") {
    stderr.write(`deleted ${files.length} ${files.length === 1 ? "file" : "files"}, ${bytesText(sizeBytes)}\n`);
    return;
  }
  for (const file of files)
    stdout.write(
      `${new Date(file.usedMs).toISOString().slice(0, 16)}  ${bytesText(file.sizeBytes).padStart(8)}  ${visibleText(file.path)}\n`,
    );
  stderr.write(
    `${folder}: ${files.length} ${files.length === 1 ? "file" : "files"}, ${bytesText(sizeBytes)} of ${bytesText(limitBytes)}\n`,
  );
}
