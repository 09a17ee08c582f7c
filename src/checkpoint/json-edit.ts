/**
 * Changes members of a JSON object in its text, as Python's libraries would write it: two spaces, keys sorted. Values that are not changed
 * keep their spelling ("1e-06", "0.0", -Infinity), which JSON.parse and JSON.stringify would lose.
 */
import { JsonCursor } from "./json-cursor.ts";

/** Returns the text of the object with members set, or taken away where the value is undefined. The text must have been parsed before. */
export function editJsonObject(text: string, changes: Readonly<Record<string, unknown>>): string {
  const members = new Map<string, string>();
  const cursor = new JsonCursor(text, { pythonNumbers: true });
  cursor.object((key) => {
    const start = cursor.position;
    cursor.skip();
    members.set(key, text.slice(start, cursor.position).trim());
  });
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) members.delete(key);
    else members.set(key, JSON.stringify(value, undefined, 2).replaceAll("\n", "\n  "));
  }
  const keys = [...members.keys()].sort((a, b) => (a < b ? -1 : 1));
  const lines = keys.map((key) => `  ${JSON.stringify(key)}: ${members.get(key)}`);
  return lines.length === 0 ? "{}\n" : `{\n${lines.join(",\n")}\n}\n`;
}
