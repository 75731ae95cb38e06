// Under node: writes all cases, or compares with the library's numbers.
//   node run.js cases      node run.js compare REFERENCE
import { readFileSync } from "node:fs";
import { cases, differences } from "./states.js";

const [what, path] = process.argv.slice(2);
const answer = what === "cases" ? cases() : differences(JSON.parse(readFileSync(path, "utf8")));
process.stdout.write(JSON.stringify(answer));
