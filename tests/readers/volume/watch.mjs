// Follows a file by a watch on a directory.
//
//     node watch.mjs DIRECTORY FILE
//
// Prints the text of FILE once the watch is there, and again at each event.
import { readFileSync, watch } from "node:fs";

const [directory, file] = process.argv.slice(2);
const tell = () => console.log(readFileSync(file, "utf8"));
watch(directory, tell);
tell();
