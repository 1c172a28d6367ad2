// The official package.

import { clock, image, load, question, serve, toolQuestion, weather } from "./conversation.mjs";

const { OpenAI } = await load("openai");
const { zodResponseFormat } = await load("openai/helpers/zod");
const { z } = await load("zod");

const client = ({ url, key }) => new OpenAI({ baseURL: url, apiKey: key, maxRetries: 0 });
const user = (content) => [{ role: "user", content }];

const tool = (name, argument, run) => ({
  type: "function",
  function: {
    name,
    function: run,
    parse: JSON.parse,
    parameters: { type: "object", properties: { [argument]: { type: "string" } } },
  },
});
const tools = [tool("weather", "city", weather), tool("clock", "zone", clock)];

const withTools = (stream) => async (request) => {
  const options = { model: request.model, messages: user(toolQuestion), tools, stream };
  return { text: await client(request).chat.completions.runTools(options).finalContent() };
};

await serve({
  async plain(request) {
    const answer = await client(request).chat.completions.create({ model: request.model, messages: user(question) });
    return { text: answer.choices[0].message.content };
  },

  async stream(request) {
    const options = { model: request.model, messages: user(question), stream: true };
    const pieces = [];
    for await (const chunk of await client(request).chat.completions.create(options)) {
      pieces.push(chunk.choices[0]?.delta?.content ?? "");
    }
    return { text: pieces.join(""), pieces: pieces.length };
  },

  tools: withTools(false),
  "streamed tools": withTools(true),

  async thinking(request) {
    const answer = await client(request).chat.completions.create({ model: request.model, messages: user(question) });
    const { content, reasoning } = answer.choices[0].message;
    return { text: content, reasoning };
  },

  async structured(request) {
    const place = z.object({ city: z.string(), people: z.number().int() });
    const response_format = zodResponseFormat(place, "place");
    const options = { model: request.model, messages: user(question), response_format };
    return (await client(request).chat.completions.parse(options)).choices[0].message.parsed;
  },

  async image(request) {
    const messages = user([
      { type: "text", text: question },
      { type: "image_url", image_url: { url: image } },
    ]);
    const answer = await client(request).chat.completions.create({ model: request.model, messages });
    return { text: answer.choices[0].message.content };
  },
});
