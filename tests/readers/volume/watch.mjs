// Watches a directory and prints a file.
//
//     node watch.mjs DIRECTORY NAME FILE
//
// Prints the text of FILE when the watch is active, and again at each event for NAME in DIRECTORY.
import { readFileSync, watch } from "node:fs";

const [directory, awaited, file] = process.argv.slice(2);
const print = () => console.log(readFileSync(file, "utf8"));
watch(directory, (_, name) => {
  if (name === awaited) print();
});
print();
