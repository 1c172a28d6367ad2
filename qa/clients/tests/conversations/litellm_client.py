"""litellm as a client of an OpenAI-compatible server."""

import litellm
from conversation import (
    IMAGE,
    PDF,
    QUESTION,
    SOUND,
    TOOL_QUESTION,
    TOOL_SCHEMAS,
    Place,
    Request,
    called,
    serve,
)


def completion(request: Request, **options):
    return litellm.completion(
        model=f"openai/{request.model}", api_base=request.url, api_key=request.key, num_retries=0, **options
    )


def asked(content) -> list:
    return [{"role": "user", "content": content}]


def plain(request: Request) -> dict:
    return {"text": completion(request, messages=asked(QUESTION)).choices[0].message.content}


def stream(request: Request) -> dict:
    chunks = list(completion(request, messages=asked(QUESTION), stream=True))
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    return {"text": "".join(filter(None, pieces)), "pieces": len(pieces)}


def conversation_with_tools(request: Request, *, streamed: bool) -> dict:
    messages = asked(TOOL_QUESTION)
    while True:
        answer = completion(request, messages=messages, tools=TOOL_SCHEMAS, stream=streamed)
        if streamed:
            answer = litellm.stream_chunk_builder(list(answer), messages=messages)
        message = answer.choices[0].message
        messages.append(message.model_dump())
        if not message.tool_calls:
            return {"text": message.content}
        for call in message.tool_calls:
            result = called(call.function.name, call.function.arguments)
            name = call.function.name
            messages.append({"role": "tool", "tool_call_id": call.id, "name": name, "content": result})


def thinking(request: Request) -> dict:
    message = completion(request, messages=asked(QUESTION)).choices[0].message
    return {"text": message.content, "reasoning": getattr(message, "reasoning_content", None)}


def structured(request: Request) -> dict:
    answer = completion(request, messages=asked(QUESTION), response_format=Place)
    return Place.model_validate_json(answer.choices[0].message.content).model_dump()


def image(request: Request) -> dict:
    parts = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    return {"text": completion(request, messages=asked(parts)).choices[0].message.content}


def document(request: Request) -> dict:
    parts = [
        {"type": "text", "text": QUESTION},
        {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
    ]
    return {"text": completion(request, messages=asked(parts)).choices[0].message.content}


serve(
    {
        "document": document,
        "plain": plain,
        "stream": stream,
        "tools": lambda request: conversation_with_tools(request, streamed=False),
        "streamed tools": lambda request: conversation_with_tools(request, streamed=True),
        "thinking": thinking,
        "structured": structured,
        "image": image,
    }
)
