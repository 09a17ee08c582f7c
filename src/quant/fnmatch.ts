/** Python's fnmatch on a case-sensitive system: `*` any letters (dots too), `?` one, `[abc]` one of them, `[!abc]` any other. */

/** Whether a name matches a pattern as a whole. */
export function matchesPattern(name: string, pattern: string): boolean {
  return new RegExp(`^(?:${translate(pattern)})$`, "su").test(name);
}

function translate(pattern: string): string {
  let source = "";
  for (let i = 0; i < pattern.length; ) {
    const letter = pattern[i] as string;
    const set = letter === "[" ? /^\[(!?)(\]?[^\]]*)\]/.exec(pattern.slice(i)) : null;
    if (set !== null) {
      source += `[${set[1] === "" ? "" : "^"}${(set[2] ?? "").replace(/[\\\][^]/g, "\\$&")}]`;
      i += set[0].length;
      continue;
    }
    source += letter === "*" ? ".*" : letter === "?" ? "." : letter.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
    i += 1;
  }
  return source;
}
