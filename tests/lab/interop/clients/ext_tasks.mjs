// @modelcontextprotocol/ext-tasks on the TypeScript SDK 2: a call is started as a task, and settled.
//
//     node ext_tasks.mjs JOB RESULT
//
// JOB and RESULT as in typescript_sdk.mjs.
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const job = JSON.parse(process.argv[2]);
const require = createRequire(join(job.packages, "here.js"));
const { Client, StreamableHTTPClientTransport } = require("@modelcontextprotocol/client");
const { StdioClientTransport } = require("@modelcontextprotocol/client/stdio");
const extTasks = join(job.packages, "@modelcontextprotocol", "ext-tasks");
const { createTaskSessionFromClient, resultFromTaskOutcome } = await import(
  pathToFileURL(join(extTasks, "dist", "client", "index.js"))
);

const transport = job.url
  ? new StreamableHTTPClientTransport(new URL(job.url))
  : new StdioClientTransport({ command: job.command, args: job.args, env: job.env });
const clientInfo = { name: "interop", version: "1" };
const client = new Client(clientInfo, { versionNegotiation: { mode: job.mode } });
await client.connect(transport);

// The SDK's client does not know the answers of tasks, so their requests pass it by.
const waiting = new Map();
const passOn = transport.onmessage;
transport.onmessage = (message, extra) => {
  const resolve = waiting.get(message.id);
  if (resolve === undefined) return passOn?.(message, extra);
  waiting.delete(message.id);
  resolve(message);
};
let sent = 0;
const rawDispatch = async (request) => {
  const message = { jsonrpc: "2.0", ...request, id: `raw-${(sent += 1)}` };
  const answer = new Promise((resolve) => waiting.set(message.id, resolve));
  await transport.send(message);
  return { ...(await answer), id: request.id ?? message.id };
};

const protocol = client.getNegotiatedProtocolVersion();
const seen = { version: "", protocol, tools: [], calls: {}, shows: [], trouble: {}, extra: {} };
seen.version = JSON.parse(readFileSync(join(extTasks, "package.json"), "utf8")).version;
const session = createTaskSessionFromClient(client, {
  endpointId: "interop",
  rawDispatch,
  v2RequestFraming: {
    protocolVersion: seen.protocol,
    clientInfo,
    clientCapabilities: { extensions: { "io.modelcontextprotocol/tasks": {} } },
  },
});
const execution = await session.callTool("generate_image", { prompt: job.prompt });
const { outcome } = await execution.settle();
const facts = resultFromTaskOutcome(outcome).structuredContent;
if (execution.kind === "task" && facts.status === "success" && facts.images[0].resource_uri) seen.shows.push("a task that is settled");
else seen.trouble["a task that is settled"] = JSON.stringify([execution.kind, facts]);
await session.close();
await client.close();
writeFileSync(process.argv[3], JSON.stringify(seen));
