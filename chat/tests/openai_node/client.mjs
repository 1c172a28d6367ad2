// Runs a scenario with the official Node package: `node client.mjs <scenario> [model]`.
// Prints the result as JSON. The package is that of the working directory.

import { createRequire } from "node:module";

const { OpenAI } = createRequire(`${process.cwd()}/`)("openai");
const client = new OpenAI({ maxRetries: 0 });
const [scenario, model = "groq/some-model"] = process.argv.slice(2);

const hello = [{ role: "user", content: "Hello" }];
const properties = { city: { type: "string" } };
const weather = { name: "weather", parameters: { type: "object", properties } };
const clock = { name: "clock", parameters: { type: "object", properties: {} } };

const scenarios = {
  async plain() {
    const answer = await client.chat.completions.create({ model, messages: hello, seed: 7, stop: ["never"] });
    const [choice] = answer.choices;
    return { text: choice.message.content, finish: choice.finish_reason, model: answer.model, usage: answer.usage };
  },

  async stream() {
    const options = { model, messages: hello, stream: true, stream_options: { include_usage: true } };
    let text = "";
    let usage = null;
    for await (const chunk of await client.chat.completions.create(options)) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    return { text, usage };
  },

  async tools() {
    const messages = [{ role: "user", content: "Ask weather" }];
    const report = ({ city }) => `sunny in ${city}`;
    const tool = { type: "function", function: { ...weather, function: report, parse: JSON.parse } };
    const runner = client.chat.completions.runTools({ model, messages, tools: [tool], stream: true });
    return { text: await runner.finalContent() };
  },

  async parallel() {
    const messages = [{ role: "user", content: "Ask weather and clock" }];
    const tools = [weather, clock].map((tool) => ({ type: "function", function: tool }));
    const message = await client.chat.completions.stream({ model, messages, tools }).finalMessage();
    return message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
  },

  async schema() {
    const schema = { type: "object", properties, required: ["city"], additionalProperties: false };
    const response_format = { type: "json_schema", json_schema: { name: "place", strict: true, schema } };
    const answer = await client.chat.completions.parse({ model, messages: hello, response_format });
    return answer.choices[0].message.parsed;
  },

  async fallbacks() {
    const answer = await client.chat.completions.create({ model, messages: hello, fallbacks: ["openrouter/good"] });
    return answer.model;
  },

  async disconnect() {
    const stream = await client.chat.completions.create({ model, messages: hello, stream: true });
    for await (const chunk of stream) {
      if (chunk.choices[0].delta.content) break;
    }
    return stream.controller.signal.aborted;
  },

  async models() {
    const names = [];
    for await (const listed of client.models.list()) names.push(listed.id);
    return [names, (await client.models.retrieve(model)).id];
  },

  async failure() {
    try {
      return await client.chat.completions.create({ model, messages: hello });
    } catch (error) {
      return summary(error);
    }
  },

  async broken() {
    let text = "";
    try {
      for await (const chunk of await client.chat.completions.create({ model, messages: hello, stream: true })) {
        text += chunk.choices[0]?.delta?.content ?? "";
      }
    } catch (error) {
      return { text, ...summary(error) };
    }
    return { text };
  },
};

const summary = (error) => ({ name: error.constructor.name, code: error.code, type: error.type, param: error.param });

console.log(JSON.stringify(await scenarios[scenario]()));
