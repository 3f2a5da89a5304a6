// Reads one file per case and prints the fields that each reader finds.
//
//     node read.mjs FORMAT DIRECTORY
//
// Libraries are loaded from the directory in PODCREDS_TEST_NODE_MODULES. The file of a case is DIRECTORY/CASE/db.EXTENSION. Each printed line is a JSON object: `reader`, `case`, and either
// `fields`, with values in base64, or `error`.
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parseEnv } from "node:util";

const [format, directory] = process.argv.slice(2);
const library = (name) => createRequire(import.meta.url)(join(process.env.PODCREDS_TEST_NODE_MODULES, name));

// What Next.js logs.
const quiet = { info() {}, error() {} };

// A URI as parsed by the URL Standard, which browsers, Node, Deno and Bun implement.
function whatwg(text) {
  const url = new URL(text);
  const [username, password, path] = [url.username, url.password, url.pathname.slice(1)].map(decodeURIComponent);
  const { database = path, ...options } = Object.fromEntries(url.searchParams);
  return { username, password, host: url.hostname, port: url.port, database, ...options };
}

function readers() {
  if (format.startsWith("uri-")) return { "WHATWG URL": whatwg };
  switch (format) {
    case "json":
      return { "JSON.parse": JSON.parse };
    case "dotenv": {
      const { parse } = library("dotenv");
      const { expand } = library("dotenv-expand");
      const { processEnv } = library("@next/env");
      return {
        "dotenv-expand": (text) => expand({ parsed: parse(text), processEnv: {} }).parsed,
        "Next.js": (text) => {
          // It keeps variables that are set already.
          for (const name of Object.keys(process.env)) delete process.env[name];
          return processEnv([{ path: "db.env", contents: text, env: {} }], ".", quiet, true)[1];
        },
        "Node dotenv": (text) => parse(text),
        "Node dotenv, fast": (text) => parse(text, { fast: true }),
        "node --env-file": parseEnv,
      };
    }
    case "yaml": {
      const { parse } = library("yaml");
      return {
        "Node yaml 1.2": (text) => parse(text, { version: "1.2" }),
        "Node yaml 1.1": (text) => parse(text, { version: "1.1" }),
      };
    }
  }
}

function encoded(value) {
  if (typeof value !== "string") throw new TypeError(`${typeof value} in place of string`);
  return Buffer.from(value, "utf8").toString("base64");
}

for (const [reader, read] of Object.entries(readers())) {
  for (const name of readdirSync(directory).sort()) {
    const line = { reader, case: name };
    try {
      const [file] = readdirSync(join(directory, name));
      const fields = read(readFileSync(join(directory, name, file), "utf8"));
      line.fields = Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, encoded(value)]));
    } catch (error) {
      line.error = String(error);
    }
    console.log(JSON.stringify(line));
  }
}
