/**
 * Reads JSON piece by piece, in the order in which it is written, building nothing: the caller takes what it expects.
 *
 * JSON.parse would build whatever an untrusted header spells (gigabytes of nested arrays, say), keeps only the last of two equal keys,
 * and does not always say where a text went wrong. Here memory is what the caller keeps, nesting is bounded, and faults have a place.
 */

/** A text is not the JSON that was asked for. */
export class JsonFault extends Error {
  /** Index into the text. */
  readonly position: number;

  constructor(message: string, position: number) {
    super(message);
    this.position = position;
  }
}

/** Deeper nesting is refused; serde_json, which reads these headers for Python, stops at the same depth. */
const MAX_DEPTH = 128;
/** Twenty times as many as a header of the largest model we know of has. */
const MAX_KEYS = 100_000;
const WORDS = ["true", "false", "null"];
/** What Python's json module writes and reads beyond the standard. */
const PYTHON_WORDS = [...WORDS, "NaN", "Infinity", "-Infinity"];

/** A backslash, or anything below the space. */
const ESCAPE_OR_CONTROL = /[^ -[\]-\uffff]/;
const LONE_SURROGATE = /\p{Surrogate}/u;
const [SPACE, QUOTE, BACKSLASH, MINUS, POINT, ZERO, NINE] = [0x20, 0x22, 0x5c, 0x2d, 0x2e, 0x30, 0x39];

/** A place in a JSON text; every method takes what stands there and moves on, or throws JsonFault. */
export class JsonCursor {
  readonly #text: string;
  readonly #words: readonly string[];
  #at = 0;

  constructor(text: string, options: { pythonNumbers?: boolean } = {}) {
    this.#text = text;
    this.#words = options.pythonNumbers ? PYTHON_WORDS : WORDS;
  }

  /** Index of the next character to be read. */
  get position(): number {
    return this.#at;
  }

  /** Takes an object of at most 100,000 members; `member` has to take each value. Two equal keys are a fault. */
  object(member: (key: string) => void): void {
    const keys = new Set<string>();
    this.#members((key, start) => {
      if (keys.has(key)) throw new JsonFault(`the key ${JSON.stringify(key.slice(0, 200))} stands twice in one object`, start);
      keys.add(key);
      if (keys.size > MAX_KEYS) throw new JsonFault(`an object has more than ${MAX_KEYS} members`, start);
      member(key);
    });
  }

  /** Takes an array; `element` has to take each value. */
  array(element: () => void): void {
    this.#expect("[");
    if (this.#skipIf("]")) return;
    do element();
    while (this.#skipIf(","));
    this.#expect("]", `"," or "]"`);
  }

  string(): string {
    this.#expect('"', "a string");
    const start = this.#at;
    const end = this.#text.indexOf('"', start);
    const plain = end < 0 ? undefined : this.#text.slice(start, end);
    if (plain !== undefined && !ESCAPE_OR_CONTROL.test(plain)) {
      this.#at = end + 1;
      return plain;
    }
    this.#skipToQuote(start);
    return this.#decode(start, this.#at - 1);
  }

  /** Takes an integer of 0 to 2^53 - 1, written without sign, fraction or exponent. */
  integer(): number {
    this.#space();
    const start = this.#at;
    const isNumber = this.#skipNumber();
    const text = this.#text.slice(start, Math.min(this.#at, start + 40));
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value)) {
      throw new JsonFault(`expected an integer of 0 to 2^53 - 1, got ${isNumber ? text : this.#here()}`, start);
    }
    return value;
  }

  /** Takes any value without building it. */
  skip(depth = 1): void {
    this.#space();
    if (depth > MAX_DEPTH) throw new JsonFault(`values are nested more than ${MAX_DEPTH} deep`, this.#at);
    const first = this.#text[this.#at];
    if (first === "{") this.#members(() => this.skip(depth + 1));
    else if (first === "[") this.array(() => this.skip(depth + 1));
    else if (first === '"') this.string();
    else if (!this.#skipWord() && !this.#skipNumber()) throw new JsonFault(`expected a value, got ${this.#here()}`, this.#at);
  }

  /** Takes null, if that is what stands here. */
  skipNull(): boolean {
    this.#space();
    const isNull = this.#text.startsWith("null", this.#at);
    if (isNull) this.#at += 4;
    return isNull;
  }

  /** Throws unless only white space is left. */
  end(): void {
    this.#space();
    if (this.#at < this.#text.length) throw new JsonFault(`expected the end, got ${this.#here()}`, this.#at);
  }

  #members(member: (key: string, start: number) => void): void {
    this.#expect("{");
    if (this.#skipIf("}")) return;
    do {
      this.#space();
      const start = this.#at;
      const key = this.string();
      this.#expect(":");
      member(key, start);
    } while (this.#skipIf(","));
    this.#expect("}", `"," or "}"`);
  }

  /** Code unit at the cursor, NaN at the end. (A sticky regular expression would fail on a hundred million digits.) */
  #code(): number {
    return this.#text.charCodeAt(this.#at);
  }

  #space(): void {
    for (let code = this.#code(); code === SPACE || code === 0x0a || code === 0x0d || code === 0x09; code = this.#code()) this.#at += 1;
  }

  #expect(mark: string, wanted = `"${mark}"`): void {
    if (!this.#skipIf(mark)) throw new JsonFault(`expected ${wanted}, got ${this.#here()}`, this.#at);
  }

  #skipIf(mark: string): boolean {
    this.#space();
    if (this.#text[this.#at] !== mark) return false;
    this.#at += 1;
    return true;
  }

  #skipWord(): boolean {
    const word = this.#words.find((candidate) => this.#text.startsWith(candidate, this.#at));
    this.#at += word?.length ?? 0;
    return word !== undefined;
  }

  #skipNumber(): boolean {
    const start = this.#at;
    if (this.#code() === MINUS) this.#at += 1;
    const first = this.#code();
    const digits = this.#skipDigits();
    if (digits === 0 || (first === ZERO && digits > 1)) {
      this.#at = start;
      return false;
    }
    if (this.#code() === POINT) this.#skipSome(1, start);
    if (this.#text[this.#at] === "e" || this.#text[this.#at] === "E") {
      const sign = this.#text[this.#at + 1];
      this.#skipSome(sign === "+" || sign === "-" ? 2 : 1, start);
    }
    return true;
  }

  #skipSome(marks: number, start: number): void {
    this.#at += marks;
    if (this.#skipDigits() === 0) throw new JsonFault(`expected a digit, got ${this.#here()}`, Math.max(start, this.#at));
  }

  #skipDigits(): number {
    const start = this.#at;
    for (let code = this.#code(); code >= ZERO && code <= NINE; code = this.#code()) this.#at += 1;
    return this.#at - start;
  }

  #skipToQuote(start: number): void {
    for (let code = this.#code(); code !== QUOTE; code = this.#code()) {
      if (Number.isNaN(code)) throw new JsonFault("a string does not end", start - 1);
      if (code < SPACE) throw new JsonFault("a string holds a control character, which must be escaped", this.#at);
      this.#at += code === BACKSLASH ? 2 : 1;
    }
    this.#at += 1;
  }

  #decode(start: number, end: number): string {
    const raw = this.#text.slice(start, end);
    try {
      const value: string = JSON.parse(`"${raw}"`);
      if (!LONE_SURROGATE.test(value)) return value;
    } catch {
      // The escapes are the only thing left that can be wrong.
    }
    throw new JsonFault("a string holds an escape that means no character", start - 1);
  }

  #here(): string {
    const character = this.#text.codePointAt(this.#at);
    return character === undefined ? "the end" : JSON.stringify(String.fromCodePoint(character));
  }
}
