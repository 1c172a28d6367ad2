// LangChain's ChatOpenAI.

import { clock, image, load, question, serve, toolQuestion, weather } from "./conversation.mjs";

const { ChatOpenAI } = await load("@langchain/openai");
const { HumanMessage, ToolMessage } = await load("@langchain/core/messages");
const { tool } = await load("@langchain/core/tools");
const { z } = await load("zod");

const chat = ({ model, url, key }) => new ChatOpenAI({ model, apiKey: key, configuration: { baseURL: url }, maxRetries: 0 });
const tools = [
  tool(weather, { name: "weather", description: "The weather of a city.", schema: z.object({ city: z.string() }) }),
  tool(clock, { name: "clock", description: "The time in a zone.", schema: z.object({ zone: z.string() }) }),
];

async function collected(stream) {
  let whole;
  for await (const chunk of stream) whole = whole ? whole.concat(chunk) : chunk;
  return whole;
}

const withTools = (answer) => async (request) => {
  const model = chat(request).bindTools(tools);
  const messages = [new HumanMessage(toolQuestion)];
  for (;;) {
    const said = await answer(model, messages);
    messages.push(said);
    if (!said.tool_calls?.length) return { text: said.text };
    for (const call of said.tool_calls) {
      const found = tools.find((each) => each.name === call.name);
      const content = await found.invoke(call.args);
      messages.push(new ToolMessage({ content, tool_call_id: call.id, name: call.name }));
    }
  }
};

await serve({
  plain: async (request) => ({ text: (await chat(request).invoke(question)).text }),

  async stream(request) {
    const pieces = [];
    for await (const chunk of await chat(request).stream(question)) pieces.push(chunk.text);
    return { text: pieces.join(""), pieces: pieces.length };
  },

  tools: withTools((model, messages) => model.invoke(messages)),
  "streamed tools": withTools(async (model, messages) => collected(await model.stream(messages))),

  // LangChain reads no reasoning from chat completions.
  async thinking(request) {
    const first = await chat(request).invoke(question);
    await chat(request).invoke([new HumanMessage(question), first, new HumanMessage("Why?")]);
    return { text: first.text, reasoning: null };
  },

  async structured(request) {
    const place = z.object({ city: z.string(), people: z.number().int() });
    return chat(request).withStructuredOutput(place, { name: "place" }).invoke(question);
  },

  async image(request) {
    const content = [
      { type: "text", text: question },
      { type: "image_url", image_url: { url: image } },
    ];
    return { text: (await chat(request).invoke([new HumanMessage({ content })])).text };
  },
});
