// What the conversations of all Node clients have in common; see conversation.py.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { inspect } from "node:util";

export const question = "Hello";
export const toolQuestion = "How is it in Paris?";
// One red pixel.
export const image =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
// The beginning of a document and of a recording, as base64.
export const pdf = "JVBERi0xLjQK";
export const sound = "UklGRiQAAABXQVZFZm10IA==";

export const weather = ({ city }) => `sunny in ${city}`;
export const clock = ({ zone }) => `nine in ${zone}`;

// The packages are those of the working directory, not of this file's.
const require = createRequire(`${process.cwd()}/`);
export const load = (name) => import(pathToFileURL(require.resolve(name)));

export async function serve(scenarios) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { scenario, ...request } = JSON.parse(line);
    let answer;
    try {
      answer = { result: await scenarios[scenario](request) };
    } catch (error) {
      answer = { error: inspect(error, { depth: 6 }) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}
