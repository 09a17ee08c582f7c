// Draws the subjects of subjects.json from Fluent Emoji flat (npm @iconify-json/fluent-emoji-flat, MIT) as transparent PNGs.
// usage: node train/render.mjs PACKAGES OUTPUT   (PACKAGES: a folder with node_modules; data.sh calls this)
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const [packages, output] = process.argv.slice(2);
const require = createRequire(path.join(path.resolve(packages), "package.json"));
const sharp = require("sharp");
const set = require("@iconify-json/fluent-emoji-flat/icons.json");
const { subjects } = JSON.parse(readFileSync(new URL("subjects.json", import.meta.url), "utf8"));

mkdirSync(output, { recursive: true });
for (const { icon } of subjects) {
  const drawing = set.icons[icon] ?? set.icons[set.aliases?.[icon]?.parent];
  if (drawing === undefined) throw new Error(`the icon set has no icon "${icon}", which subjects.json names`);
  const size = set.height ?? 32;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size} ${size}" width="480" height="480">${drawing.body}</svg>`;
  await sharp(Buffer.from(svg))
    .png()
    .toFile(path.join(output, `${icon}.png`));
}
console.log(`${subjects.length} drawings in ${output}`);
