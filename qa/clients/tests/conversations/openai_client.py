"""The official package."""

from conversation import (
    IMAGE,
    QUESTION,
    TOOL_QUESTION,
    TOOL_SCHEMAS,
    Place,
    Request,
    called,
    serve,
)
from openai import OpenAI


def client(request: Request) -> OpenAI:
    return OpenAI(base_url=request.url, api_key=request.key, max_retries=0)


def asked(content) -> list:
    return [{"role": "user", "content": content}]


def plain(request: Request) -> dict:
    answer = client(request).chat.completions.create(model=request.model, messages=asked(QUESTION))
    return {"text": answer.choices[0].message.content}


def stream(request: Request) -> dict:
    chunks = client(request).chat.completions.create(
        model=request.model, messages=asked(QUESTION), stream=True, stream_options={"include_usage": True}
    )
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    return {"text": "".join(filter(None, pieces)), "pieces": len(pieces)}


def conversation_with_tools(request: Request, answer) -> dict:
    messages = asked(TOOL_QUESTION)
    while True:
        message = answer(model=request.model, messages=messages, tools=TOOL_SCHEMAS)
        messages.append(message)
        if not message.tool_calls:
            return {"text": message.content}
        for call in message.tool_calls:
            result = called(call.function.name, call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


def tools(request: Request) -> dict:
    completions = client(request).chat.completions
    return conversation_with_tools(request, lambda **sent: completions.create(**sent).choices[0].message)


def streamed_tools(request: Request) -> dict:
    def answer(**sent):
        with client(request).chat.completions.stream(**sent) as events:
            return events.get_final_completion().choices[0].message

    return conversation_with_tools(request, answer)


def thinking(request: Request) -> dict:
    answer = client(request).chat.completions.create(model=request.model, messages=asked(QUESTION))
    message = answer.choices[0].message
    return {"text": message.content, "reasoning": message.reasoning}


def structured(request: Request) -> dict:
    answer = client(request).chat.completions.parse(
        model=request.model, messages=asked(QUESTION), response_format=Place
    )
    return answer.choices[0].message.parsed.model_dump()


def image(request: Request) -> dict:
    parts = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    answer = client(request).chat.completions.create(model=request.model, messages=asked(parts))
    return {"text": answer.choices[0].message.content}


serve(
    {
        "plain": plain,
        "stream": stream,
        "tools": tools,
        "streamed tools": streamed_tools,
        "thinking": thinking,
        "structured": structured,
        "image": image,
    }
)
