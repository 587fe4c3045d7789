// Calls a till with npm's `openai`, unmodified but for the base URL, and prints what it got as JSON.
// Run by test_npm.py: node client.cjs FOLDER-WITH-NODE_MODULES BASE-URL KEY POOR-KEY
const { createRequire } = require("node:module");
const path = require("node:path");
const [folder, baseURL, apiKey, poorKey] = process.argv.slice(2);
const OpenAI = createRequire(path.join(path.resolve(folder), "x.js"))("openai");
const said = (text) => [{ role: "user", content: text }];

async function main() {
  const client = new OpenAI({ baseURL, apiKey });
  const found = { version: require(path.resolve(folder, "node_modules/openai/package.json")).version };

  const { data: chat, response } = await client.chat.completions
    .create({ model: "big", messages: said("answer=3") })
    .withResponse();
  found.chat = [chat.choices[0].message.content, chat.usage.completion_tokens];
  found.charged = response.headers.get("x-tokentill-charged");

  const stream = await client.chat.completions.create({ model: "big", messages: said("answer=4"), stream: true });
  found.stream = "";
  for await (const chunk of stream) {
    found.stream += chunk.choices[0]?.delta?.content ?? "";
    if (chunk.tokentill) found.receipt = chunk.tokentill.charged;
  }

  const tools = [{ type: "function", function: { name: "f", parameters: { type: "object", properties: {} } } }];
  const image = { type: "image_url", image_url: { url: "data:image/png;base64,AAAA" } };
  const content = [{ type: "text", text: "answer=2" }, image];
  const mixed = await client.chat.completions.create({ model: "big", messages: [{ role: "user", content }], tools });
  found.tools = mixed.choices[0].message.content;

  found.responses = (await client.responses.create({ model: "big", input: "answer=2" })).output_text;
  const events = await client.responses.create({ model: "big", input: "answer=2", stream: true });
  found.events = "";
  for await (const event of events) if (event.type === "response.output_text.delta") found.events += event.delta;

  found.completion = (await client.completions.create({ model: "big", prompt: "answer=2" })).choices[0].text;
  const embedded = await client.embeddings.create({ model: "big", input: ["a", "b"], encoding_format: "float" });
  found.embeddings = embedded.data.length;
  found.models = (await client.models.list()).data.map((model) => model.id);

  const named = { headers: { "Idempotency-Key": "once" } };
  const once = { model: "big", messages: said("answer=2") };
  const first = await client.chat.completions.create(once, named);
  const { data: again, response: replayed } = await client.chat.completions.create(once, named).withResponse();
  found.once = [first.id === again.id, replayed.headers.get("idempotent-replayed")];

  const refused = async (other, body) => {
    try {
      await other.chat.completions.create(body);
    } catch (error) {
      return [error.constructor.name, error.status, error.code, error.error?.tokentill?.offers?.[0]?.id ?? null];
    }
    return null;
  };
  const poor = new OpenAI({ baseURL, apiKey: poorKey });
  found.poor = await refused(poor, { model: "big", messages: said("answer=90") });
  found.stranger = await refused(new OpenAI({ baseURL, apiKey: "sk-nobody" }), once);
  found.unknown = await refused(client, { ...once, model: "gpt-none" });
  console.log(JSON.stringify(found));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
