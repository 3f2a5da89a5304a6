// Follows a file by a watch on a directory.
//
//     node watch.mjs DIRECTORY NAME FILE
//
// Prints the text of FILE once the watch is there, and again at each event of NAME in DIRECTORY.
import { readFileSync, watch } from "node:fs";

const [directory, awaited, file] = process.argv.slice(2);
const print = () => console.log(readFileSync(file, "utf8"));
watch(directory, (_, name) => {
  if (name === awaited) print();
});
print();
