/** The pieces of Markdown that reports are written in. */

/** A table of cells that are Markdown already. */
export function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** Text as code, also within a table. */
export function markdownCode(text: string): string {
  return `\`${text.replaceAll("|", "\\|").replaceAll("`", "'")}\``;
}

/** Text of which nothing is taken for markup, on one line. */
export function markdownText(text: string): string {
  return text.replace(/[\\`*_<>[\]|]/g, "\\$&").replace(/\s+/g, " ");
}
