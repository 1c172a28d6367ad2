"""Error responses before the answer."""

from __future__ import annotations

from qa.fake_provider.call import SSE, Call
from qa.fake_provider.faults.registry import Fault, FaultSpec, fault
from qa.fake_provider.wire_formats import GeminiFormat

#: name -> (status, code, message)
ERRORS = {
    "400": (400, "invalid_request_error", "temperature must be a number"),
    "401": (401, "invalid_api_key", "API key not valid. Please pass a valid API key."),
    "402": (402, "payment_required", "Insufficient credits"),
    "403": (403, "permission_denied", "this key may not use this model"),
    "404": (404, "model_not_found", "The model does not exist or you do not have access to it"),
    "408": (408, "timeout", "Request timed out"),
    "409": (409, "conflict", "The operation was aborted"),
    "413": (413, "", "Request Entity Too Large"),
    "429-bare": (429, "rate_limit_exceeded", "Rate limit reached"),
    "498": (498, "capacity_exceeded", "Flex tier capacity exceeded"),
    "500": (500, "internal_server_error", "Internal error"),
    "502": (502, "provider_unavailable", "Bad gateway"),
    "503": (503, "service_unavailable", "Service unavailable"),
    "504": (504, "timeout", "Gateway timeout"),
    "529": (529, "overloaded_error", "Overloaded"),
    "context-length": (
        400,
        "context_length_exceeded",
        "This model's maximum context length is 131072 tokens. Please reduce the length of the messages.",
    ),
    "unsupported": (400, "invalid_request_error", "This model does not support image input"),
    "passed-on": (400, "", "Provider returned error"),
    "loading": (503, "unavailable_error", "Loading model"),
    "tool-use-failed": (400, "tool_use_failed", "Failed to call a function."),
}


def _error(status: int, code: str, message: str) -> Fault:
    async def send(spec: FaultSpec, call: Call) -> None:
        await call.send_error(status, code, message)

    return send


for _name, _fields in ERRORS.items():
    fault(_name)(_error(*_fields))


@fault("429")
async def rate_limit(spec: FaultSpec, call: Call) -> None:
    seconds = f"{spec.wait:g}"
    if isinstance(call.wire, GeminiFormat):
        body = call.wire.error(429, "", f"Quota exceeded. Please retry in {seconds}s.")
        body["error"]["details"] = [
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{seconds}s"}
        ]
        await call.send_json(429, body)
    else:
        await call.send_error(429, "rate_limit_exceeded", "Rate limit reached", {"Retry-After": seconds})


@fault("429-day")
async def daily_limit(spec: FaultSpec, call: Call) -> None:
    body = call.wire.error(429, "rate_limit_exceeded", "Quota exceeded for the day, limit: 0")
    if isinstance(call.wire, GeminiFormat):
        quota = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}
        body["error"]["details"] = [{"violations": [quota]}, {"retryDelay": "3600s"}]
        await call.send_json(429, body)
    else:
        await call.send_json(429, body, {"Retry-After": "3600"})


@fault("502-html")
async def bad_gateway_page(spec: FaultSpec, call: Call) -> None:
    page = b"<html><h1>502 Bad Gateway</h1></html>"
    await call.response.send_all(502, {"Content-Type": "text/html"}, page)


@fault("prompt-blocked")
async def prompt_blocked(spec: FaultSpec, call: Call) -> None:
    """The prompt is refused: by Gemini with a 200, by the others with a 400."""
    if not isinstance(call.wire, GeminiFormat):
        await call.send_error(400, "content_policy_violation", "The prompt was flagged")
        return
    body = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9}}
    if call.request.stream:
        await call.response.start(200, SSE)
        await call.response.send(call.event(body))
        await call.response.end()
    else:
        await call.send_json(200, body)


@fault("prefix-rejected")
async def prefix_rejected(spec: FaultSpec, call: Call) -> None:
    """A 400 for a request to continue an assistant's text; any other one is answered."""
    if call.request.prefix:
        await call.send_error(400, "invalid_request_error", "the last message must have role user")
    else:
        await call.send_answer()


@fault("redirect")
async def redirect(spec: FaultSpec, call: Call) -> None:
    location = call.headers.get("Location", "http://127.0.0.1:9/stolen")
    await call.response.send_all(307, {"Location": location}, b"")


@fault("error-200")
async def error_with_status_200(spec: FaultSpec, call: Call) -> None:
    await call.send_json(200, call.wire.error(503, "service_unavailable", "The model is overloaded"))
