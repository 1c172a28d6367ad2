"""A worker gives back the memory that large requests took."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from config.launch.supervisor import ALLOCATOR
from qa.testing.waiting import PATIENCE_SECONDS, wait_until

MEBIBYTE = 1024 * 1024
#: What a worker may keep of its largest load. With glibc's defaults it kept 250 MB and more.
KEPT_BYTES = 100 * MEBIBYTE

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 900_000}}
LARGE = {"model": "default", "messages": [{"role": "user", "content": [IMAGE]}]}


def test_workers_have_an_allocator_that_returns_memory(product):
    for worker in product.workers():
        assert worker.environ().items() >= ALLOCATOR.items()


@pytest.mark.proof
def test_the_memory_of_large_bodies_is_returned(product, large_attacker):
    headers = {"X-API-Key": large_attacker.key}

    def memory() -> list[int]:
        return [worker.memory_info().rss for worker in product.workers()]

    def send(_: int) -> int:
        url = f"{product.url}/v1/chat/completions"
        return requests.post(url, json=LARGE, headers=headers, timeout=PATIENCE_SECONDS).status_code

    def is_returned() -> bool:
        for _ in range(50):  # Some of it belongs to cycles, which the garbage collector finds with time.
            requests.get(f"{product.url}/v1/models", headers=headers, timeout=PATIENCE_SECONDS)
        return all(now - then < KEPT_BYTES for now, then in zip(memory(), before, strict=True))

    before = memory()
    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(send, range(500))) == {200}
    wait_until(is_returned, "the memory is returned")
