"""The OpenAI-compatible endpoint: `/v1/chat/completions` and `/v1/models`.

Any OpenAI client works with a tenant's key as its API key. The tenant's limits
and metering hold; nothing of the conversation is stored.
"""
