"""Conversations of client packages with the served product: `make clients`.

The packages are in environments of their own, below `var/clients/`: `requirements.txt` for Python,
`requirements-openai-2.txt` for those that need an older package of OpenAI, `package.json` for Node. Each
client is a program in `tests/conversations/` that holds the same conversations in its own way.
"""
