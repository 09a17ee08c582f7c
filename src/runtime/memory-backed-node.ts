/** Folders that are memory in disguise: what is written there to save memory saves none. */
import { statfs } from "node:fs/promises";

/** statfs types of Linux that keep files in memory: tmpfs, ramfs. */
const MEMORY_BACKED = new Set([0x01021994, 0x858458f6]);

/** Whether the files of a folder are kept in memory; the system's own error when it cannot be asked. */
export async function isMemoryBacked(folder: string): Promise<boolean> {
  return MEMORY_BACKED.has((await statfs(folder)).type);
}
