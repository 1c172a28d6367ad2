"""The OpenAI-compatible endpoint: `/v1/chat/completions` and `/v1/models`.

Any OpenAI client works with a tenant's key as its API key. The tenant's limits and metering apply; nothing
of the conversation is stored. `request` and `messages` validate and translate what comes in, `choice` finds
the route, `metering` runs it, `reply` and `stream` translate what goes out, `openai_errors` what fails.
"""
