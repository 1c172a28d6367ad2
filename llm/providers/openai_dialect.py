"""The dialect of OpenAI's chat completions, as Groq, OpenRouter and most servers speak it.

https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llm import canonical
from llm.errors import BadReply
from llm.providers.answer import Reader, Refused, count, updated
from llm.providers.base import Limits, ListedModel, Provider, items, mapping
from llm.providers.documents import Document
from llm.providers.text import harmless

_FINISH: dict[str, canonical.Finish] = {
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "blocked",
    "refusal": "blocked",
    "error": "error",
    "abort": "error",
}


#: The keys of nearly all deltas.
_TEXT_ALONE = {"role", "content"}


class OpenAIReader(Reader):
    """Reads completions and chunks; a chunk differs only in `delta` for `message`.

    An unknown finish reason counts as `stop`: servers have many words for it.
    """

    def feed(self, document: Document) -> None:
        value = document.value
        if document.name == "error":
            raise Refused(value)
        if not isinstance(value, dict):
            raise BadReply(
                f"{self.answer.target} sent an answer that cannot be read.", detail=repr(value)[:200]
            )
        self.read_head(value)
        if value.get("error"):
            raise Refused(value)
        if choices := items(value.get("choices")):
            self._read_choice(mapping(choices[0]))

    def read_head(self, value: Mapping[str, Any]) -> None:
        """Read what stands beside the choices: id, model, usage."""
        answer, response_id, model = self.answer, value.get("id"), value.get("model")
        if response_id and response_id != answer.response_id and isinstance(response_id, str):
            answer.response_id = harmless(response_id)
        if model and model != answer.model_used and isinstance(model, str):
            answer.model_used = harmless(model)
        if usage := value.get("usage"):
            self.read_usage(mapping(usage))

    def read_usage(self, usage: Mapping[str, Any]) -> None:
        given, made, total = (
            count(usage.get(f"{name}_tokens")) for name in ("prompt", "completion", "total")
        )
        if total is not None and given is None and made is not None:
            given = max(0, total - made)
        elif total is not None and made is None and given is not None:
            made = max(0, total - given)
        self.answer.usage = updated(
            self.answer.usage,
            input=given,
            output=made,
            cached=count(mapping(usage.get("prompt_tokens_details")).get("cached_tokens")),
            reasoning=count(mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")),
        )

    def read_piece(self, piece: Mapping[str, Any], *, whole: bool) -> None:
        """Read a delta or a whole message."""
        answer = self.answer
        more = not piece.keys() <= _TEXT_ALONE
        if more and (thought := piece.get("reasoning") or piece.get("reasoning_content")):
            answer.add_reasoning(thought)
        if content := piece.get("content"):
            self._read_content(content)
        if not more:
            return
        if isinstance(piece.get("refusal"), str):
            self.why += harmless(piece["refusal"])
        if calls := piece.get("tool_calls"):
            for position, call in enumerate(items(calls)):
                self._read_call(mapping(call), position if whole else None)
        if function := piece.get("function_call"):
            function = mapping(function)
            answer.add_call(0, None, function.get("name"), function.get("arguments"))

    def _read_choice(self, choice: Mapping[str, Any]) -> None:
        if choice.get("error"):
            raise Refused(choice)
        if delta := choice.get("delta"):
            self.read_piece(mapping(delta), whole=False)
        elif message := choice.get("message"):
            self.read_piece(mapping(message), whole=True)
        finish = choice.get("finish_reason")
        # A usage chunk may carry a choice whose finish reason is null again.
        if finish and isinstance(finish, str):
            self.answer.raw_finish = harmless(finish)
            self.answer.finish = "blocked" if self.why else _FINISH.get(finish, "stop")

    def _read_content(self, content: Any) -> None:
        if isinstance(content, str):
            self.answer.add_text(content)
            return
        for part in items(content):
            part = mapping(part)
            if part.get("type") in {"thinking", "reasoning"}:
                self.answer.add_reasoning(part.get("text") or part.get("thinking"))
            else:
                self.answer.add_text(part.get("text"))

    def _read_call(self, call: Mapping[str, Any], position: int | None) -> None:
        function = mapping(call.get("function"))
        index = call.get("index")
        if not isinstance(index, int):
            index = position
        self.answer.add_call(index, call.get("id"), function.get("name"), function.get("arguments"))


class OpenAIDialect(Provider):
    """Parent of all providers that speak the dialect; subclasses say where they differ."""

    max_tokens_field = "max_completion_tokens"
    #: Ask for usage at the end of a stream; where it always comes, asking is not needed.
    asks_for_usage = True
    reader_class: type[OpenAIReader] = OpenAIReader

    def chat_url(self, model: str, stream: bool) -> str:
        return f"{self.base_url}/chat/completions"

    def reader(self, request: canonical.Request, target: canonical.Target) -> Reader:
        return self.reader_class(request, target)

    def payload(self, request: canonical.Request, model: str, stream: bool) -> dict[str, Any]:
        optional = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            self.max_tokens_field: request.max_tokens,
            "stop": list(request.stop) or None,
            "seed": request.seed,
            "tools": [_tool(tool) for tool in request.tools] or None,
            "tool_choice": _tool_choice(request.tool_choice),
            "parallel_tool_calls": request.parallel_tool_calls,
            "response_format": _response_format(request),
            "stream": True if stream else None,
            "stream_options": {"include_usage": True} if stream and self.asks_for_usage else None,
            **self.reasoning(request),
        }
        return {
            "model": model,
            "messages": list(self._messages(request)),
            **{name: value for name, value in optional.items() if value is not None},
        }

    def reasoning(self, request: canonical.Request) -> dict[str, Any]:
        """Return the fields that ask for more or less thinking."""
        return {"reasoning_effort": request.reasoning_effort}

    def assistant_message(self, message: canonical.Message) -> dict[str, Any]:
        written: dict[str, Any] = {"role": "assistant", "content": message.text or None}
        if message.tool_calls:
            written["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in message.tool_calls
            ]
        elif not message.text:
            written["content"] = ""
        return written

    def models(self, limits: Limits) -> list[ListedModel]:
        listed = mapping(self.get("/models", limits)).get("data")
        entries = [mapping(entry) for entry in items(listed)]
        models = (self.listed(entry) for entry in entries if isinstance(entry.get("id"), str))
        return [model for model in models if model is not None]

    def listed(self, entry: Mapping[str, Any]) -> ListedModel | None:
        """Return the model of one entry; None if it cannot be used now."""
        return ListedModel(entry["id"])

    def _messages(self, request: canonical.Request) -> Iterator[dict[str, Any]]:
        if request.system:
            yield {"role": "system", "content": request.system}
        for message in request.messages:
            if message.role == "assistant":
                yield self.assistant_message(message)
            elif message.role == "tool":
                yield {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.text}
            else:
                yield {"role": "user", "content": _content(message)}


def _content(message: canonical.Message) -> str | list[dict[str, Any]]:
    if not message.images:
        return message.text
    text = [{"type": "text", "text": message.text}] if message.text else []
    return text + [{"type": "image_url", "image_url": {"url": url}} for url in message.images]


def _tool(tool: canonical.Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "description": tool.description}
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: str | None) -> Any:
    if choice in {None, "auto", "none", "required"}:
        return choice
    return {"type": "function", "function": {"name": choice}}


def _response_format(request: canonical.Request) -> dict[str, Any] | None:
    if request.json_schema is not None:
        return {"type": "json_schema", "json_schema": request.json_schema}
    return {"type": "json_object"} if request.json_mode else None
