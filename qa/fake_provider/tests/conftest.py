from qa.testing.fixtures.llm import answers, call, fake, provider  # noqa: F401 - fixtures
