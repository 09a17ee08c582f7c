/**
 * Finds a text in a PNG file without unpacking the picture.
 *
 * A PNG is a signature and chunks (length, type, data, checksum) up to IEND. A text may lie before or after the pixels, plain (tEXt),
 * compressed (zTXt) or as UTF-8 (iTXt): tools that crop or optimize pictures turn one into another. Files are untrusted: every length is
 * checked, and a compressed text may not grow beyond a bound. Layout: PNG 3rd edition, section 11.3.3.
 */
import { Unzlib } from "fflate";
import { FileError } from "../errors.ts";

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
/** Far more than a prompt needs. */
const MAX_TEXT_BYTES = 4 * 2 ** 20;
/** Compressed bytes are fed in pieces this long, so that a bomb is noticed early: a byte unpacks to 1,032 at most. */
const PIECE_BYTES = 1024;

const latin1 = new TextDecoder("latin1");

/** Throws FileError unless the bytes begin as a PNG file does. */
export function checkPng(png: Uint8Array, where?: string): void {
  if (png.length < SIGNATURE.length || SIGNATURE.some((byte, i) => png[i] !== byte)) {
    throw new FileError("the file is not a PNG picture", { where });
  }
}

/**
 * Returns the first text stored under a keyword, or undefined.
 *
 * Errors: FileError when the file is not a PNG, is cut off, or the text is longer than 4 MiB or damaged.
 */
export function readTextChunk(png: Uint8Array, keyword: string, where?: string): string | undefined {
  checkPng(png, where);
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  let found: string | undefined;
  let offset = SIGNATURE.length;
  for (;;) {
    if (offset + 12 > png.length) throw new FileError(`the PNG file is cut off after ${png.length} bytes`, { where });
    const length = view.getUint32(offset);
    const type = latin1.decode(png.subarray(offset + 4, offset + 8));
    if (type === "IEND") return found;
    const end = offset + 8 + length;
    if (end + 4 > png.length) throw new FileError(`the PNG file is cut off after ${png.length} bytes`, { where });
    if (found === undefined && (type === "tEXt" || type === "zTXt" || type === "iTXt")) {
      found = textUnder(keyword, type, png.subarray(offset + 8, end), where);
    }
    offset = end + 4;
  }
}

function textUnder(keyword: string, type: "tEXt" | "zTXt" | "iTXt", data: Uint8Array, where: string | undefined): string | undefined {
  const keywordEnd = data.indexOf(0);
  if (keywordEnd < 1 || keywordEnd > 79 || latin1.decode(data.subarray(0, keywordEnd)) !== keyword) return undefined;
  const rest = data.subarray(keywordEnd + 1);
  if (type === "tEXt") return latin1.decode(bounded(rest, where));
  if (type === "zTXt") return latin1.decode(unpack(rest.subarray(1), rest[0], where));
  const [isPacked, method] = rest;
  const languageEnd = rest.indexOf(0, 2);
  const titleEnd = languageEnd < 0 ? -1 : rest.indexOf(0, languageEnd + 1);
  if (titleEnd < 0) throw damaged(where);
  const text = rest.subarray(titleEnd + 1);
  return new TextDecoder().decode(isPacked === 1 ? unpack(text, method, where) : bounded(text, where));
}

function bounded(text: Uint8Array, where: string | undefined): Uint8Array {
  if (text.length > MAX_TEXT_BYTES) throw tooLong(where);
  return text;
}

function unpack(packed: Uint8Array, method: number | undefined, where: string | undefined): Uint8Array {
  if (method !== 0) throw damaged(where);
  const pieces: Uint8Array[] = [];
  let size = 0;
  const stream = new Unzlib((piece) => {
    pieces.push(piece);
    size += piece.length;
  });
  try {
    for (let at = 0; at < packed.length && size <= MAX_TEXT_BYTES; at += PIECE_BYTES) {
      stream.push(packed.subarray(at, at + PIECE_BYTES), at + PIECE_BYTES >= packed.length);
    }
  } catch (cause) {
    throw damaged(where, cause);
  }
  if (size > MAX_TEXT_BYTES) throw tooLong(where);
  const text = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    text.set(piece, at);
    at += piece.length;
  }
  return text;
}

function tooLong(where: string | undefined): FileError {
  return new FileError(`a text in the PNG file is longer than ${MAX_TEXT_BYTES} bytes`, { where });
}

function damaged(where: string | undefined, cause?: unknown): FileError {
  return new FileError("a text in the PNG file is damaged", { where, cause });
}
