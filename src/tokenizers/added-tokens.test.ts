import { expect, test } from "vitest";
import { type AddedToken, AddedTokens } from "./added-tokens.ts";

const plain = { singleWord: false, lstrip: false, rstrip: false, normalized: false, special: true };

function addAll(...tokens: Partial<AddedToken>[]): AddedTokens {
  const pieces = ["<pad>", "</s>", "<unk>", "a"];
  const pieceIdOf = (content: string) => (pieces.includes(content) ? pieces.indexOf(content) : undefined);
  const added = new AddedTokens(pieces.length, pieceIdOf, (text) => text.toLowerCase());
  for (const token of tokens) added.add({ content: "", ...plain, ...token });
  return added;
}

test("a token takes the id of the piece with its text, else the next free one", () => {
  const added = addAll({ content: "<x>" }, { content: "</s>" }, { content: "" }, { content: "<y>" }, { content: "<x>", lstrip: true });
  expect(added.entries().map(([id, token]) => [id, token.content])).toEqual([
    [1, "</s>"],
    [4, "<x>"],
    [5, "<y>"],
  ]);
  expect(added.size).toBe(6);
  expect([added.idOf("<y>"), added.idOf("a"), added.contentOf(5), added.contentOf(3)]).toEqual([5, undefined, "<y>", undefined]);
});

test("the leftmost match wins, then the longest", () => {
  const split = addAll({ content: "<a" }, { content: "<ab>" }, { content: "b>c" }).splitter(false);
  expect(split("x<ab>c<a b>c")).toEqual(["x", 5, "c", 4, " ", 6]);
});

test("tokens are text as they stand, not patterns", () => {
  const split = addAll({ content: "[a-z]+(.*)$|^\\" }).splitter(false);
  expect(split("q [a-z]+(.*)$|^\\ q")).toEqual(["q ", 4, " q"]);
});

test("lstrip and rstrip swallow white space", () => {
  const split = addAll({ content: "<x>", lstrip: true, rstrip: true }).splitter(false);
  expect(split("a \u0085<x>\t\n b<x><x> ")).toEqual(["a", 4, "b", 4, 4]);
});

test("a single word stands between neither letters nor digits", () => {
  const split = addAll({ content: "cat", singleWord: true }).splitter(false);
  expect(split("cat scat cats _cat 𝐀cat (cat)")).toEqual([4, " scat cats _cat 𝐀cat (", 4, ")"]);
});

test("normalized tokens are searched in normalized text, after the others", () => {
  const added = addAll({ content: "[B]", normalized: true, special: false }, { content: "<X>" });
  expect(added.splitter(false)("A[b]<X>[B]<x>")).toEqual(["a", 4, 5, 4, "<x>"]);
  expect([added.contentOf(4), added.contentOf(5)]).toEqual(["[b]", "<X>"]);
});

test("special tokens can be ordinary text", () => {
  const added = addAll({ content: "<x>" }, { content: "<y>", special: false });
  expect(added.splitter(true)("<x><y>")).toEqual(["<x>", 5]);
  expect([added.isSpecial("<x>"), added.isSpecial("<y>")]).toEqual([true, false]);
});

test("empty text has no sections", () => {
  expect(addAll().splitter(false)("")).toEqual([]);
  expect(addAll({ content: "<x>" }).splitter(false)("")).toEqual([]);
});
