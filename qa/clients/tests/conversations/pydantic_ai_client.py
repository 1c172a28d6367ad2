"""Agents of Pydantic AI on its model of OpenAI's chat completions."""

import asyncio
import base64

from conversation import IMAGE, PDF, QUESTION, SOUND, TOOL_QUESTION, TOOLS, Place, Request, serve
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.messages import ThinkingPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


def agent(request: Request, **options) -> Agent:
    provider = OpenAIProvider(base_url=request.url, api_key=request.key)
    return Agent(OpenAIChatModel(request.model, provider=provider), retries=0, **options)


def plain(request: Request) -> dict:
    return {"text": agent(request).run_sync(QUESTION).output}


def stream(request: Request) -> dict:
    return asyncio.run(_streamed(agent(request), QUESTION))


async def _streamed(asked: Agent, question: str) -> dict:
    async with asked.run_stream(question) as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def tools(request: Request) -> dict:
    return {"text": agent(request, tools=list(TOOLS.values())).run_sync(TOOL_QUESTION).output}


def streamed_tools(request: Request) -> dict:
    async def handle(context, events) -> None:
        async for _ in events:
            pass

    # `run_stream` would end with the first text, also if calls of tools follow it.
    asked = agent(request, tools=list(TOOLS.values()))
    return {"text": asyncio.run(asked.run(TOOL_QUESTION, event_stream_handler=handle)).output}


def thinking(request: Request) -> dict:
    asked = agent(request)
    result = asked.run_sync(QUESTION)
    parts = [part for message in result.all_messages() for part in message.parts]
    thoughts = [part.content for part in parts if isinstance(part, ThinkingPart)]
    asked.run_sync("Why?", message_history=result.all_messages())
    return {"text": result.output, "reasoning": "".join(thoughts)}


def structured(request: Request) -> dict:
    return agent(request, output_type=Place).run_sync(QUESTION).output.model_dump()


def image(request: Request) -> dict:
    return {"text": agent(request).run_sync([QUESTION, BinaryContent.from_data_uri(IMAGE)]).output}


def document(request: Request) -> dict:
    sound = BinaryContent(base64.b64decode(SOUND), media_type="audio/wav")
    return {"text": agent(request).run_sync([QUESTION, BinaryContent.from_data_uri(PDF), sound]).output}


serve(
    {
        "document": document,
        "plain": plain,
        "stream": stream,
        "tools": tools,
        "streamed tools": streamed_tools,
        "thinking": thinking,
        "structured": structured,
        "image": image,
    }
)
