"""LlamaIndex' OpenAILike, and its function agent."""

import asyncio

from conversation import IMAGE, QUESTION, TOOL_QUESTION, TOOLS, Place, Request, serve
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.llms.openai_like import OpenAILike


def llm(request: Request) -> OpenAILike:
    return OpenAILike(
        model=request.model,
        api_base=request.url,
        api_key=request.key,
        is_chat_model=True,
        is_function_calling_model=True,
        should_use_structured_outputs=True,
        max_retries=0,
    )


def asked(content) -> list:
    return [ChatMessage(role="user", content=content)]


def plain(request: Request) -> dict:
    return {"text": llm(request).chat(asked(QUESTION)).message.content}


def stream(request: Request) -> dict:
    pieces = [piece.delta for piece in llm(request).stream_chat(asked(QUESTION))]
    return {"text": "".join(filter(None, pieces)), "pieces": len(pieces)}


def tools(request: Request, *, streamed: bool) -> dict:
    async def conversation() -> dict:
        agent = FunctionAgent(
            tools=list(TOOLS.values()), llm=llm(request), system_prompt="Be brief.", streaming=streamed
        )
        return {"text": str(await agent.run(TOOL_QUESTION))}

    return asyncio.run(conversation())


def thinking(request: Request) -> dict:
    # LlamaIndex reads no reasoning from chat completions.
    first = llm(request).chat(asked(QUESTION)).message
    llm(request).chat([*asked(QUESTION), first, *asked("Why?")])
    return {"text": first.content, "reasoning": None}


def structured(request: Request) -> dict:
    return llm(request).as_structured_llm(Place).chat(asked(QUESTION)).raw.model_dump()


def image(request: Request) -> dict:
    data = IMAGE.partition(";base64,")[2].encode()
    blocks = [TextBlock(text=QUESTION), ImageBlock(image=data, image_mimetype="image/png")]
    return {"text": llm(request).chat([ChatMessage(role="user", blocks=blocks)]).message.content}


serve(
    {
        "plain": plain,
        "stream": stream,
        "tools": lambda request: tools(request, streamed=False),
        "streamed tools": lambda request: tools(request, streamed=True),
        "thinking": thinking,
        "structured": structured,
        "image": image,
    }
)
