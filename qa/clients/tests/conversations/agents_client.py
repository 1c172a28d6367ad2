"""OpenAI's Agents SDK on chat completions."""

import asyncio

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from conversation import IMAGE, QUESTION, TOOL_QUESTION, TOOLS, Place, Request, serve
from openai import AsyncOpenAI

set_tracing_disabled(True)


def agent(request: Request, **options) -> Agent:
    client = AsyncOpenAI(base_url=request.url, api_key=request.key, max_retries=0)
    settings = ModelSettings(include_usage=True, store=True, verbosity="low")
    model = OpenAIChatCompletionsModel(model=request.model, openai_client=client)
    return Agent(name="Guide", instructions="Be brief.", model=model, model_settings=settings, **options)


def run(asked: Agent, question) -> dict:
    return {"text": asyncio.run(Runner.run(asked, question)).final_output}


async def _streamed(asked: Agent, question: str) -> dict:
    result = Runner.run_streamed(asked, question)
    pieces = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def with_tools(request: Request) -> Agent:
    return agent(request, tools=[function_tool(tool) for tool in TOOLS.values()])


def thinking(request: Request) -> dict:
    asked = agent(request)

    async def conversation() -> dict:
        first = await Runner.run(asked, QUESTION)
        shown = [item.raw_item for item in first.new_items if item.type == "reasoning_item"]
        await Runner.run(asked, [*first.to_input_list(), {"role": "user", "content": "Why?"}])
        reasoning = "".join(part.text for item in shown for part in [*item.summary, *(item.content or ())])
        return {"text": first.final_output, "reasoning": reasoning or None}

    return asyncio.run(conversation())


def structured(request: Request) -> dict:
    return asyncio.run(Runner.run(agent(request, output_type=Place), QUESTION)).final_output.model_dump()


def image(request: Request) -> dict:
    content = [
        {"type": "input_text", "text": QUESTION},
        {"type": "input_image", "image_url": IMAGE, "detail": "auto"},
    ]
    return run(agent(request), [{"role": "user", "content": content}])


serve(
    {
        "plain": lambda request: run(agent(request), QUESTION),
        "stream": lambda request: asyncio.run(_streamed(agent(request), QUESTION)),
        "tools": lambda request: run(with_tools(request), TOOL_QUESTION),
        "streamed tools": lambda request: asyncio.run(_streamed(with_tools(request), TOOL_QUESTION)),
        "thinking": thinking,
        "structured": structured,
        "image": image,
    }
)
