from llm.tests.conftest import _running_fake, answers, call, fake, provider  # noqa: F401 - the same fixtures
