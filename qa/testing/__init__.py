"""What the tests of several packages share.

`waiting`, `concurrency`, `server` (the product as a process), and by app: `accounts`, `tenants`, `chat`,
`llm`. `fixtures` and `progress` are pytest plugins; the root `conftest.py` names those that all tests use.
"""
