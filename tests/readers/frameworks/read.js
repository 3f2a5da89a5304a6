// Runs the block of one application per case, and prints the credentials with which it connects.
//
//     node read.js pg|mysql2|prisma|prismaFunction|next DIRECTORY
//
// Libraries are loaded from the directory in PODCREDS_TEST_NODE_MODULES. The block of the page is DIRECTORY/CASE/0.js, or
// DIRECTORY/CASE/command for `next`. Each printed line is a JSON object: `reader`, `case`, and either `fields`, with values in base64, or `error`.
const { execFileSync } = require("node:child_process");
const { readFileSync, readdirSync, renameSync } = require("node:fs");
const { createServer, Socket } = require("node:net");
const { join } = require("node:path");

const [reader, root] = process.argv.slice(2);
const modules = process.env.PODCREDS_TEST_NODE_MODULES;
const load = (name) => (name.startsWith("node:") ? require(name) : require(join(modules, name)));

// What the block assigns to this name.
const evaluate = (directory, name, change = (code) => code) =>
  new Function("require", `${change(readFileSync(join(directory, "0.js"), "utf8"))}\nreturn ${name};`)(load);

const message = (type, body) => {
  const head = Buffer.from(`${type}    `);
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
};

// A PostgreSQL server that asks for the password in clear text and accepts it, and the user and password that it has received.
function postgres() {
  const received = {};
  const server = createServer((socket) => {
    let state = "startup";
    socket.on("error", () => {});
    socket.on("data", (data) => {
      if (state === "startup") {
        const words = data.subarray(8).toString("utf8").split("\0");
        received.username = words[words.indexOf("user") + 1];
        state = "password";
        socket.write(message("R", Buffer.from([0, 0, 0, 3])));
      } else if (state === "password") {
        received.password = data.subarray(5, -1).toString("utf8");
        state = "ready";
        socket.write(Buffer.concat([message("R", Buffer.from([0, 0, 0, 0])), message("Z", Buffer.from("I"))]));
      }
    });
  });
  // Every connection of this process goes to the server.
  const { connect } = Socket.prototype;
  Socket.prototype.connect = function (port, host) {
    received.host = host;
    return connect.call(this, server.address().port, "127.0.0.1");
  };
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve({ received, server })));
}

let fake;

function rotate(directory) {
  renameSync(join(directory, "podcreds"), join(directory, "earlier"));
  renameSync(join(directory, "rotated"), join(directory, "podcreds"));
}

// The connections of Prisma's adapter are those of a pool of node-postgres.
async function connectPrisma(factory) {
  const adapter = await factory.connect();
  const client = await adapter.underlyingDriver().connect();
  client.release(true);
  await adapter.dispose();
}

const readers = {
  async pg(directory) {
    const pool = evaluate(directory, "pool");
    rotate(directory);
    const client = await pool.connect();
    client.release(true);
    await pool.end();
    return { username: fake.received.username, password: fake.received.password };
  },
  async prisma(directory) {
    await connectPrisma(evaluate(directory, "adapter"));
    return { ...fake.received };
  },
  async prismaFunction(directory) {
    const adapter = evaluate(directory, "pool", (code) => code.replace('{ Pool } = require("pg")', '{ PrismaPg: Pool } = require("@prisma/adapter-pg")'));
    rotate(directory);
    await connectPrisma(adapter);
    return { username: fake.received.username, password: fake.received.password };
  },
  async mysql2(directory) {
    const pool = evaluate(directory, "pool");
    const { user, password, host } = pool.pool.config.connectionConfig;
    await pool.end();
    return { username: user, password: password ?? "", host };
  },
  async next(directory) {
    const [program, ...parameters] = readFileSync(join(directory, "command"), "utf8").trimEnd().split("\n");
    // The same command, with this program instead of the server.
    const command = parameters.map((text) => text.replace("node server.js", `node ${__filename} next-server .`));
    const printed = execFileSync(program, command, { env: { PATH: process.env.PATH, PODCREDS_TEST_NODE_MODULES: modules }, cwd: directory });
    return JSON.parse(printed);
  },
};

async function main() {
  if (reader === "next-server") {
    load("@next/env").loadEnvConfig(root, false, { info() {}, error() {} });
    console.log(JSON.stringify({ username: process.env.DB_USER, password: process.env.DB_PASSWORD }));
    return;
  }
  fake = ["pg", "prisma", "prismaFunction"].includes(reader) ? await postgres() : undefined;
  for (const name of readdirSync(root).sort()) {
    const line = { reader, case: name };
    try {
      const fields = await readers[reader](join(root, name));
      line.fields = Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, Buffer.from(value, "utf8").toString("base64")]));
    } catch (error) {
      line.error = String(error);
    }
    console.log(JSON.stringify(line));
  }
  fake?.server.close();
}

main();
