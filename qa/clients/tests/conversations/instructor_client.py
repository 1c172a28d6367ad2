"""instructor, which returns objects by tools, by JSON mode or by JSON schema."""

import instructor
from conversation import IMAGE, QUESTION, Place, Request, serve
from openai import OpenAI


def client(request: Request, mode: instructor.Mode):
    return instructor.from_openai(OpenAI(base_url=request.url, api_key=request.key, max_retries=0), mode=mode)


def place(request: Request, mode: instructor.Mode, content=QUESTION) -> dict:
    messages = [{"role": "user", "content": content}]
    found = client(request, mode).chat.completions.create(
        model=request.model, messages=messages, response_model=Place, max_retries=0
    )
    return found.model_dump()


def streamed(request: Request) -> dict:
    *_, last = client(request, instructor.Mode.TOOLS).chat.completions.create_partial(
        model=request.model, messages=[{"role": "user", "content": QUESTION}], response_model=Place
    )
    return last.model_dump()


def image(request: Request) -> dict:
    content = [QUESTION, instructor.Image.from_base64(IMAGE)]
    return place(request, instructor.Mode.TOOLS, content)


serve(
    {
        "structured": lambda request: place(request, instructor.Mode.JSON_SCHEMA),
        "structured by tools": lambda request: place(request, instructor.Mode.TOOLS),
        "structured by strict tools": lambda request: place(request, instructor.Mode.TOOLS_STRICT),
        "structured by JSON mode": lambda request: place(request, instructor.Mode.JSON),
        "structured stream": streamed,
        "structured image": image,
    }
)
