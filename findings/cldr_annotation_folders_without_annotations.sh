#!/usr/bin/env bash
# cldr-annotations-full 48.2.0: seven of its 170 language folders have an annotations.json without annotations.
#
# The package has a folder for each language, with the names and keywords of emoji under `annotations.annotations`. In bew,
# ca-ES-valencia, ckb, frr, pap, sr-Cyrl and und that key is missing; the file has the identity of the language alone. So a
# program that reads every folder ends with an error, or takes Serbian in Cyrillic for a language without names: these are
# in `sr`, whose usual script it is. The Latin ones are in `sr-Latn`, and `und`, from which the others inherit, has none.
# Other folders are short: Sardinian (`sc`) names 1,129 of the 1,966 emoji that English names, ten of them without a keyword.
# The script fails when another set of folders is without annotations, or when `sc` has a keyword for each name.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --ignore-scripts --no-audit --no-fund --no-package-lock cldr-annotations-full@48.2.0
node --version
node - <<'NODE'
const assert = require("assert");
const fs = require("fs");

const root = "node_modules/cldr-annotations-full/annotations";
const read = (language) => JSON.parse(fs.readFileSync(`${root}/${language}/annotations.json`, "utf8")).annotations;
const languages = fs.readdirSync(root).sort();
const without = languages.filter((language) => !("annotations" in read(language)));
const count = (language) => Object.keys(read(language).annotations).length;
const bare = Object.values(read("sc").annotations).filter((words) => !words.default);

console.log(`${languages.length} folders; without annotations: ${without.join(", ")}`);
console.log(`en ${count("en")}, sr ${count("sr")}, sr-Latn ${count("sr-Latn")}, sc ${count("sc")}, of these without a keyword ${bare.length}`);
assert.deepStrictEqual(without, ["bew", "ca-ES-valencia", "ckb", "frr", "pap", "sr-Cyrl", "und"]);
assert(count("sr") > 1900 && count("sr-Latn") > 1900);
assert(count("sc") < count("en") && bare.length > 0 && bare.every((words) => words.tts));
NODE
