/** What the system says when a file can't be used. */

/** The system's name of what went wrong: "ENOSPC". */
export function systemCode(cause: unknown): string | undefined {
  return cause instanceof Error && "code" in cause ? String(cause.code) : undefined;
}

/** Whether nothing is there, or a file stands in the way of one of its folders. */
export function isMissing(cause: unknown): boolean {
  const code = systemCode(cause);
  return code === "ENOENT" || code === "ENOTDIR";
}
