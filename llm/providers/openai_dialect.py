"""The dialect of OpenAI's chat completions, which Groq, OpenRouter and most servers speak.

https://platform.openai.com/docs/api-reference/chat (2026-11)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from llm import canonical
from llm.errors import BadReply
from llm.providers.base import Limits, ListedModel, Provider
from llm.providers.json_values import MAX_NAME_LENGTH, as_count, as_dict, as_list
from llm.providers.reader import InBandError, Reader
from llm.providers.repairs import SAMPLING, Path, Paths
from llm.providers.stream import Document
from llm.providers.text import sanitized

#: The keys of nearly all deltas.
_TEXT_ONLY = {"role", "content"}


class OpenAIReader(Reader):
    """Reads completions and chunks, which differ only in `delta` for `message`."""

    def feed(self, document: Document) -> None:
        value = document.value
        # Groq ends a broken stream with such an event, without [DONE]: https://github.com/pydantic/pydantic-ai/blob/main/tests/models/cassettes/test_groq/test_tool_use_failed_error_streaming.yaml
        if document.name == "error":
            raise InBandError(value)
        if not isinstance(value, dict):
            raise BadReply(
                f"{self.builder.target} sent an answer that cannot be read.", detail=repr(value)[:200]
            )
        self.read_head(value)
        # OpenRouter puts the error beside the choices: https://github.com/pydantic/pydantic-ai/blob/main/tests/models/cassettes/test_openrouter/test_openrouter_stream_error.yaml
        if value.get("error"):
            raise InBandError(value)
        if choices := as_list(value.get("choices")):
            self._read_choice(as_dict(choices[0]))

    def read_head(self, value: Mapping[str, Any]) -> None:
        """Read the fields beside the choices: id, model, usage."""
        builder, response_id, model = self.builder, value.get("id"), value.get("model")
        if response_id and response_id != builder.response_id and isinstance(response_id, str):
            builder.response_id = sanitized(response_id[:MAX_NAME_LENGTH])
        if model and model != builder.model_used and isinstance(model, str):
            builder.model_used = sanitized(model[:MAX_NAME_LENGTH])
        if usage := value.get("usage"):
            self.read_usage(as_dict(usage))

    def read_usage(self, usage: Mapping[str, Any]) -> None:
        prompt, completion, total = (
            as_count(usage.get(f"{name}_tokens")) for name in ("prompt", "completion", "total")
        )
        if total is not None and prompt is None and completion is not None:
            prompt = max(0, total - completion)
        elif total is not None and completion is None and prompt is not None:
            completion = max(0, total - prompt)
        self.builder.update_usage(
            input=prompt,
            output=completion,
            cached=_cached(usage),
            reasoning=as_count(as_dict(usage.get("completion_tokens_details")).get("reasoning_tokens")),
        )

    def read_message(self, message: Mapping[str, Any], *, whole: bool) -> None:
        """Read a whole message or a delta."""
        builder = self.builder
        has_more = not message.keys() <= _TEXT_ONLY
        # vLLM renamed `reasoning_content`, DeepSeek's word, to `reasoning`:
        # https://docs.vllm.ai/en/stable/features/reasoning_outputs/ (2026-11)
        if has_more and (reasoning := message.get("reasoning") or message.get("reasoning_content")):
            builder.add_reasoning(_words(reasoning))
        if content := message.get("content"):
            self._read_content(content)
        if not has_more:
            return
        builder.add_refusal(message.get("refusal"))
        # OpenRouter's image models: https://openrouter.ai/docs/features/multimodal/image-generation (2026-11)
        for image in map(as_dict, as_list(message.get("images"))):
            builder.add_image(as_dict(image.get("image_url")).get("url"))
        if calls := message.get("tool_calls"):
            for position, call in enumerate(as_list(calls)):
                self._read_tool_call(as_dict(call), position if whole else None)
        # OpenAI's form before `tool_calls`, deprecated there: https://platform.openai.com/docs/api-reference/chat/create
        if function := as_dict(message.get("function_call")):
            builder.add_tool_call(0, None, function.get("name"), function.get("arguments"))

    def _read_choice(self, choice: Mapping[str, Any]) -> None:
        if choice.get("error"):
            raise InBandError(choice)
        delta, message = as_dict(choice.get("delta")), as_dict(choice.get("message"))
        if message and _is_blank(delta):
            self._read_whole(message)
        elif delta:
            self.read_message(delta, whole=False)
        elif text := choice.get("text"):  # of servers that answer as to OpenAI's older completions
            self.builder.add_text(text)
        # OpenRouter's usage chunk has a choice whose finish reason is null again: https://github.com/pydantic/pydantic-ai/blob/main/tests/models/cassettes/test_openrouter/test_openrouter_streaming_reasoning.yaml
        if finish := choice.get("finish_reason"):
            self.end(finish)

    def _read_whole(self, message: dict[str, Any]) -> None:
        """Read a whole message; in a stream it may repeat what its deltas have said."""
        builder = self.builder
        if builder.received:
            rest, said = message.get("content"), builder.text
            is_longer = isinstance(rest, str) and builder.text_length and rest.startswith(said)
            message = {"content": rest[len(said) :]} if is_longer and isinstance(rest, str) else {}
        self.read_message(message, whole=True)

    def _read_content(self, content: Any) -> None:
        if isinstance(content, str):
            self.builder.add_text(content)
            return
        # Mistral's reasoning models send a list (2026-11): https://docs.mistral.ai/inference/conversations/reasoning
        for part in content if isinstance(content, list) else [content]:
            if not isinstance(part, dict):
                self.builder.add_text(part)
                continue
            match part.get("type"):
                case "thinking" | "reasoning":
                    self.builder.add_reasoning(_words(part))
                case "image_url":
                    self.builder.add_image(as_dict(part.get("image_url")).get("url"))
                case "refusal":
                    self.builder.add_refusal(part.get("refusal"))
                case _:
                    self.builder.add_text(_words(part))

    def _read_tool_call(self, call: Mapping[str, Any], position: int | None) -> None:
        function = as_dict(call.get("function"))
        index = call.get("index")
        # Ollama omitted it in streams: https://github.com/ollama/ollama/issues/7881 (2024-11)
        if not isinstance(index, int):
            index = position
        self.builder.add_tool_call(index, call.get("id"), function.get("name"), function.get("arguments"))


#: What servers call the window in their lists of models, the one in effect first (2026-11):
#: LM Studio https://lmstudio.ai/docs/api/rest-api, Mistral https://docs.mistral.ai/api/,
#: vLLM https://docs.vllm.ai/en/stable/serving/openai_compatible_server/,
#: Together https://docs.together.ai/reference/models-1, and as Groq and OpenRouter do.
_WINDOWS = (
    "loaded_context_length",
    "max_model_len",
    "context_window",
    "context_length",
    "max_context_length",
    "max_context_window",
    "max_input_tokens",
)


def _listed_window(entry: Mapping[str, Any]) -> int | None:
    counts = (as_count(entry.get(name)) for name in _WINDOWS)
    # llama.cpp: https://github.com/ggml-org/llama.cpp/tree/master/tools/server (2026-11)
    in_meta = as_count(as_dict(entry.get("meta")).get("n_ctx"))
    return next((count for count in counts if count), in_meta) or None


_PARTS_WITH_WORDS = ("text", "thinking", "reasoning", "content", "summary", "value")


def _words(value: Any, depth: int = 3) -> str:
    """Return the text in a text, in a part, or in a list of parts, joined."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and depth:
        return "".join(_words(item, depth - 1) for item in value)
    if isinstance(value, dict) and depth:
        filled = (value[name] for name in _PARTS_WITH_WORDS if value.get(name))
        return _words(next(filled, ""), depth - 1)
    return ""


def _is_blank(value: Any) -> bool:
    """Whether nothing of an answer is in a delta: everything beside its role is empty."""
    if isinstance(value, dict):
        return all(_is_blank(item) for name, item in value.items() if name not in ("role", "index", "type"))
    if isinstance(value, list):
        return all(map(_is_blank, value))
    return value is None or value == ""


#: OpenAI's form comes first; DeepSeek https://api-docs.deepseek.com/guides/kv_cache, Moonshot
#: https://platform.moonshot.ai/docs/api/chat, Anthropic's behind gateways, Mistral's (2026-11).
_CACHED = ("prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens", "num_cached_tokens")


def _cached(usage: Mapping[str, Any]) -> int | None:
    """Return the part of the prompt that the provider had in its cache; None if it does not say."""
    details = as_dict(usage.get("prompt_tokens_details")).get("cached_tokens")
    values = (details, *(usage.get(name) for name in _CACHED))
    return next((count for value in values if (count := as_count(value)) is not None), None)


class OpenAIDialect(Provider):
    """Parent of all providers that speak the dialect; subclasses declare where they differ."""

    max_tokens_field = "max_completion_tokens"
    #: Whether usage at the end of a stream has to be requested.
    requests_usage = True
    reader_class: type[OpenAIReader] = OpenAIReader
    #: The field in which a message with tool calls repeats the reasoning that led to them; None if in none.
    reasoning_field: str | None = None
    reasoning_effort_path: Path = ("reasoning_effort",)

    @property
    def parameters(self) -> Paths:  # type: ignore[override]  # depends on the name of a field
        plain = (*SAMPLING, "parallel_tool_calls", "verbosity", "stream_options")
        return {
            "max_tokens": (self.max_tokens_field,),
            **{name: (name,) for name in plain},
            "reasoning_effort": self.reasoning_effort_path,
        }

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
            "stream_options": {"include_usage": True} if stream and self.requests_usage else None,
            "frequency_penalty": request.frequency_penalty,
            "presence_penalty": request.presence_penalty,
            "repetition_penalty": request.repetition_penalty,
            "top_k": request.top_k,
            "min_p": request.min_p,
            "logit_bias": request.logit_bias,
            "verbosity": request.verbosity,
            **self.reasoning(request),
        }
        ignored = self.ignored(model)
        return {
            "model": model,
            "messages": list(self._messages(request, ignored)),
            **{name: value for name, value in optional.items() if value is not None and name not in ignored},
        }

    def reasoning(self, request: canonical.Request) -> dict[str, Any]:
        """Return the fields that set how much the model reasons."""
        return {"reasoning_effort": request.reasoning_effort}

    def assistant_message(self, message: canonical.Message) -> dict[str, Any]:
        fields: dict[str, Any] = {"role": "assistant", "content": message.text or None}
        if message.tool_calls:
            if message.reasoning and self.reasoning_field:
                fields[self.reasoning_field] = message.reasoning
            fields["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in message.tool_calls
            ]
        elif not message.text:
            fields["content"] = ""
        return fields

    def models(self, limits: Limits) -> list[ListedModel]:
        entries = map(as_dict, as_list(as_dict(self.get("/models", limits)).get("data")))
        models = (self.listed_model(entry) for entry in entries if isinstance(entry.get("id"), str))
        return [model for model in models if model is not None]

    def listed_model(self, entry: Mapping[str, Any]) -> ListedModel | None:
        """Return the model of one entry; None if it cannot be used now."""
        return ListedModel(entry["id"], context_window=_listed_window(entry))

    def _messages(self, request: canonical.Request, ignored: Collection[str]) -> Iterator[dict[str, Any]]:
        if request.system:
            yield {"role": "system", "content": request.system}
        for message in request.messages:
            name = {"name": message.name} if message.name and "name" not in ignored else {}
            if message.role == "assistant":
                yield self.assistant_message(message) | name
            elif message.role == "tool":
                yield {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.text}
            else:
                yield {"role": "user", "content": _content(message), **name}


def _content(message: canonical.Message) -> str | list[dict[str, Any]]:
    return [_part(part) for part in message.parts] or message.text


def _part(part: str | canonical.Media) -> dict[str, Any]:
    """https://platform.openai.com/docs/api-reference/chat/create (2026-11)"""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if part.kind == "audio":
        media_type, data = part.content() or ("audio/wav", "")
        return {"type": "input_audio", "input_audio": {"data": data, "format": media_type.partition("/")[2]}}
    if part.kind == "file":
        name = {"filename": part.filename} if part.filename else {}
        return {"type": "file", "file": {"file_data": part.url, **name}}
    detail = {"detail": part.detail} if part.detail else {}
    return {"type": "image_url", "image_url": {"url": part.url, **detail}}


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
