// The AI SDK with its provider for OpenAI-compatible servers.

import { clock, image, load, pdf, question, serve, sound, toolQuestion, weather } from "./conversation.mjs";

const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
const { Output, generateText, stepCountIs, streamText, tool } = await load("ai");
const { z } = await load("zod");

const options = ({ model, url, key }) => {
  const provider = createOpenAICompatible({
    name: "platform",
    baseURL: url,
    apiKey: key,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
  return { model: provider(model), maxRetries: 0 };
};
const tools = {
  weather: tool({ description: "The weather of a city.", inputSchema: z.object({ city: z.string() }), execute: weather }),
  clock: tool({ description: "The time in a zone.", inputSchema: z.object({ zone: z.string() }), execute: clock }),
};
const withTools = (request) => ({ ...options(request), tools, prompt: toolQuestion, stopWhen: stepCountIs(5) });

async function streamed(settings) {
  const result = streamText({ ...settings, onError: () => {} });
  let pieces = 0;
  for await (const part of result.fullStream) {
    if (part.type === "error") throw part.error;
    if (part.type === "text-delta") pieces += 1;
  }
  return { text: await result.text, pieces };
}

await serve({
  plain: async (request) => ({ text: (await generateText({ ...options(request), prompt: question })).text }),
  stream: (request) => streamed({ ...options(request), prompt: question }),
  tools: async (request) => ({ text: (await generateText(withTools(request))).text }),
  "streamed tools": (request) => streamed(withTools(request)),

  async thinking(request) {
    const first = await generateText({ ...options(request), prompt: question });
    const messages = [
      { role: "user", content: question },
      ...first.response.messages,
      { role: "user", content: "Why?" },
    ];
    await generateText({ ...options(request), messages });
    return { text: first.text, reasoning: first.reasoningText ?? null };
  },

  async structured(request) {
    const schema = z.object({ city: z.string(), people: z.number().int() });
    const output = Output.object({ schema });
    return (await generateText({ ...options(request), prompt: question, output })).output;
  },

  async document(request) {
    const content = [
      { type: "text", text: question },
      { type: "file", data: pdf, mediaType: "application/pdf", filename: "a.pdf" },
      { type: "file", data: sound, mediaType: "audio/wav" },
    ];
    return { text: (await generateText({ ...options(request), messages: [{ role: "user", content }] })).text };
  },

  async image(request) {
    const content = [
      { type: "text", text: question },
      { type: "image", image },
    ];
    return { text: (await generateText({ ...options(request), messages: [{ role: "user", content }] })).text };
  },
});
