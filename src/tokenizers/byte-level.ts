/**
 * Bytes as characters that can be seen: byte-level BPE writes a word's UTF-8 bytes as 256 characters, none of them a space or a control
 * character, so that its vocabulary and merges are plain text.
 *
 * Printable Latin-1 characters stand for themselves, the other bytes for U+0100 and up in their order.
 * Source: tokenizers pre_tokenizers/byte_level.rs@0.23.
 */
const CHARACTERS = byteCharacters();
const BYTES = new Map(CHARACTERS.map((character, byte) => [character, byte]));
const ENCODER = new TextEncoder();

/** Writes text as the characters of its bytes. */
export function toByteCharacters(text: string): string {
  return Array.from(ENCODER.encode(text), (byte) => CHARACTERS[byte]).join("");
}

/** Reads tokens back as text; one that holds another character counts as it is written, and bytes that are not UTF-8 read as U+FFFD. */
export function fromByteCharacters(tokens: readonly string[]): string {
  const bytes = tokens.flatMap((token) => {
    const found = Array.from(token, (character) => BYTES.get(character));
    return found.includes(undefined) ? [...ENCODER.encode(token)] : (found as number[]);
  });
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
}

function byteCharacters(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const isPrintable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
    return String.fromCharCode(isPrintable ? byte : next++);
  });
}
