#!/usr/bin/env bash
# @iconify-json/fluent-emoji-flat 1.2.6: emoji that are drawn as another one's mirror image have no entry in chars.json.
#
# An Iconify set of emoji has icons.json (drawings by name) and chars.json (names by code points). The backhand index that
# points right is drawn: it is an alias in icons.json, the left one with `hFlip`. chars.json has the left one and its five
# skin tones, and none of the right ones. So a program that looks an emoji up by its code points finds that the artist has
# not drawn U+1F449, and one that reads `icons` alone finds no drawing by that name either. Of the sets noto 1.2.9 and
# twemoji 1.2.5, which draw both hands, chars.json has both. Look up aliases by name, with `parent`, `hFlip` and `rotate`.
# Seen: 6 mirrored aliases, 0 of them among 3,139 characters. The script fails when chars.json names one of them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --ignore-scripts --no-audit --no-fund --no-package-lock \
  @iconify-json/fluent-emoji-flat@1.2.6 @iconify-json/noto@1.2.9 @iconify-json/twemoji@1.2.5
node --version
node - <<'NODE'
const assert = require("assert");
const read = (set, file) => require(`${process.cwd()}/node_modules/@iconify-json/${set}/${file}.json`);

const { icons, aliases } = read("fluent-emoji-flat", "icons");
const chars = read("fluent-emoji-flat", "chars");
const named = new Set(Object.values(chars));
const mirrored = Object.entries(aliases).filter(([, alias]) => alias.hFlip);
const [right, left] = ["1f449", "1f448"];

console.log(`${Object.keys(chars).length} characters; mirrored: ${mirrored.map(([name]) => name).join(", ")}`);
console.log(`left: ${chars[left]}, right: ${chars[right]}, right in noto: ${read("noto", "chars")[right]}`);
assert.strictEqual(mirrored.length, 6);
for (const [name, alias] of mirrored) {
  assert(alias.parent in icons && named.has(alias.parent), `${alias.parent} is drawn and has its character`);
  assert(!(name in icons) && !named.has(name), `${name} has its character now`);
}
assert(chars[left] && !chars[right], "the right hand is found by its code point now");
for (const set of ["noto", "twemoji"]) assert(read(set, "chars")[left] && read(set, "chars")[right]);
NODE
