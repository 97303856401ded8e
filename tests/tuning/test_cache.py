"""Cache: what was used last is kept, and computed once."""

import threading
import time

from metaest.tuning._cache import Cache


def test_what_was_used_last_is_kept() -> None:
    cache, computed = Cache[str](2), []

    def compute(key: str) -> str:
        computed.append(key)
        return key.upper()

    for key in ("a", "b", "a", "c", "a", "b"):
        assert cache.get(key, lambda key=key: compute(key)) == key.upper()
    assert computed == ["a", "b", "c", "b"]
    cache.clear()
    cache.get("b", lambda: compute("b"))
    assert computed[4:] == ["b"]


def test_of_threads_that_ask_at_once_one_computes() -> None:
    cache, computed = Cache[int](1), []

    def compute() -> int:
        time.sleep(0.05)
        computed.append(1)
        return 3

    threads = [threading.Thread(target=cache.get, args=("a", compute)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert computed == [1]
