// The TypeScript SDK's client, of either generation, does what walk.py does.
//
//     node typescript_sdk.mjs JOB RESULT
//
// JOB is JSON, as for the Python clients, with `packages` (the folder node_modules), `generation` (1 or 2), and `adds`
// (arguments that a host adds to those of every call).
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const job = JSON.parse(process.argv[2]);
const require = createRequire(join(job.packages, "here.js"));
const second = job.generation === 2;
const name = second ? "@modelcontextprotocol/client" : "@modelcontextprotocol/sdk";
const { Client } = require(second ? name : `${name}/client/index.js`);
const { StdioClientTransport } = require(second ? `${name}/stdio` : `${name}/client/stdio.js`);
const { StreamableHTTPClientTransport } = require(second ? name : `${name}/client/streamableHttp.js`);

const transport = () =>
  job.url
    ? new StreamableHTTPClientTransport(new URL(job.url))
    : new StdioClientTransport({ command: job.command, args: job.args, env: job.env });

const seen = { version: "", protocol: "", tools: [], calls: {}, shows: [], trouble: {}, extra: {} };
const note = (what, shown, why) => {
  if (shown) seen.shows.push(what);
  else seen.trouble[what] = why ?? "it was tried, and did not come";
};

const client = second
  ? new Client({ name: "interop", version: "1" }, { versionNegotiation: { mode: job.mode } })
  : new Client({ name: "interop", version: "1" });
const connection = transport();
const set = connection.setProtocolVersion?.bind(connection);
connection.setProtocolVersion = (version) => {
  seen.protocol = version;
  set?.(version);
};
await client.connect(connection);
seen.version = JSON.parse(readFileSync(join(job.packages, name, "package.json"), "utf8")).version;
if (second) seen.protocol = client.getNegotiatedProtocolVersion();

let told = () => {};
const news = new Promise((resolve) => (told = resolve));
if (second) client.setNotificationHandler("notifications/resources/updated", told);
else client.setNotificationHandler(require(`${name}/types.js`).ResourceUpdatedNotificationSchema, told);

let progress = 0;
const call = (tool, args) => {
  const params = { name: tool, arguments: { ...args, ...job.adds } };
  const options = { onprogress: () => (progress += 1) };
  // listTools() has been called: the answers are checked against the output schemas, and thrown away where they differ.
  return second ? client.callTool(params, options) : client.callTool(params, undefined, options);
};
const texts = (result) => result.content.filter((item) => item.type === "text").map((item) => item.text).join("\n");
const tried = async (tool, args, expected) => {
  const result = await call(tool, args);
  const whole = texts(result) + JSON.stringify(result.structuredContent ?? null);
  seen.calls[tool] = result.isError ? `error: ${texts(result)}` : whole.includes(expected) ? "ok" : whole.slice(0, 200);
  return result;
};

seen.tools = (await client.listTools()).tools.map((tool) => tool.name);
const made = await tried("generate_image", { prompt: job.prompt }, "task_id");
const task_id = made.structuredContent.task_id;
const waited = await tried("wait_for_image", { task_id, timeout_seconds: 30 }, "success");
await tried("get_task", { task_id }, "success");
const viewed = await tried("view_image", { task_id }, "");
await tried("browse_images", {}, task_id);
await tried("get_account", {}, "credits");
await tried("read_picture", { task_id }, "");
const { upload_id } = (await tried("add_reference", { purpose: "a photo of you" }, "up-")).structuredContent;
await tried("upload_image", { upload_id, data: job.photo }, "nanobanana://uploads/");

const link = waited.content.find((item) => item.type === "resource_link");
note("structured", waited.structuredContent?.status === "success");
note("link", link !== undefined);
note("picture", viewed.content.some((item) => item.type === "image" && item.mimeType.startsWith("image/")));
note("progress", progress > 0);
const missing = await call("get_task", { task_id: job.no_such_task });
note("error", missing.isError === true && texts(missing).includes("no such task"));
const failed = await call("generate_image", { prompt: job.failing, wait_seconds: 30 });
note("failure", failed.isError === true && texts(failed).includes("failed"));

const read = async (uri) => (await client.readResource({ uri })).contents[0];
const contents = [await read(link.uri), await read(`nanobanana://tasks/${task_id}/images/0`)];
note("read", contents.every((each) => each.blob && each.mimeType.startsWith("image/")));
note("resources", (await client.listResources()).resources.some((each) => each.uri === "nanobanana://tasks"));
const prompts = (await client.listPrompts()).prompts.map((each) => each.name);
const poster = await client.getPrompt({ name: "poster", arguments: { text: "OPEN", subject: "a bakery" } });
note("prompts", prompts.includes("poster") && poster.messages.some((each) => each.content.text?.includes("a bakery")));
const offered = await client.complete({
  ref: { type: "ref/prompt", name: "poster" },
  argument: { name: "aspect_ratio", value: "4" },
});
note("completion", offered.completion.values.join() === "4:3,4:5");

const uri = "nanobanana://tasks";
const listening = seen.protocol >= "2026" ? await client.listen({ resourceSubscriptions: [uri] }) : undefined;
if (listening === undefined) await client.subscribeResource({ uri });
await call("generate_image", { prompt: job.prompt, wait_seconds: 30 });
const patience = new Promise((resolve) => setTimeout(resolve, 20_000, undefined).unref());
note("updates", (await Promise.race([news, patience])) !== undefined);
await listening?.close();

await client.close();
writeFileSync(process.argv[3], JSON.stringify(seen));
