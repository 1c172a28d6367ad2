"""LangChain's ChatOpenAI, and its agents."""

from conversation import IMAGE, PDF, QUESTION, SOUND, TOOL_QUESTION, TOOLS, Place, Request, serve
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI


def chat(request: Request, **options) -> ChatOpenAI:
    return ChatOpenAI(
        model=request.model, base_url=request.url, api_key=request.key, max_retries=0, **options
    )


def plain(request: Request) -> dict:
    return {"text": chat(request).invoke(QUESTION).content}


def stream(request: Request) -> dict:
    pieces = [chunk.content for chunk in chat(request, stream_usage=True).stream(QUESTION)]
    return {"text": "".join(pieces), "pieces": len(pieces)}


def agent_input() -> dict:
    return {"messages": [HumanMessage(TOOL_QUESTION)]}


def tools(request: Request) -> dict:
    agent = create_agent(chat(request), list(TOOLS.values()), system_prompt="Be brief.")
    return {"text": agent.invoke(agent_input())["messages"][-1].content}


def streamed_tools(request: Request) -> dict:
    agent = create_agent(chat(request, streaming=True), list(TOOLS.values()), system_prompt="Be brief.")
    chunks = [chunk for chunk, _ in agent.stream(agent_input(), stream_mode="messages")]
    return {"text": "".join(chunk.content for chunk in chunks if isinstance(chunk, AIMessage))}


def thinking(request: Request) -> dict:
    # LangChain reads no reasoning from chat completions.
    first = chat(request).invoke(QUESTION)
    chat(request).invoke([HumanMessage(QUESTION), first, HumanMessage("Why?")])
    return {"text": first.content, "reasoning": None}


def structured(request: Request) -> dict:
    return chat(request).with_structured_output(Place).invoke(QUESTION).model_dump()


def image(request: Request) -> dict:
    kind, _, data = IMAGE.removeprefix("data:").partition(";base64,")
    content = [{"type": "text", "text": QUESTION}, {"type": "image", "mime_type": kind, "base64": data}]
    return {"text": chat(request).invoke([HumanMessage(content)]).content}


def document(request: Request) -> dict:
    content = [
        {"type": "text", "text": QUESTION},
        {
            "type": "file",
            "base64": PDF.partition(",")[2],
            "mime_type": "application/pdf",
            "filename": "a.pdf",
        },
        {"type": "audio", "base64": SOUND, "mime_type": "audio/wav"},
    ]
    return {"text": chat(request).invoke([HumanMessage(content)]).content}


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
