"""A bounded cache against a list of all uses."""

from hypothesis import given
from hypothesis import strategies as st

from trimf.runtime.text.bounded_cache import BoundedCache

KEYS = st.sampled_from(["", "a", "b", "c", "d", "e", "é", "東京", "too long"])


@given(st.lists(st.lists(KEYS, max_size=6), max_size=20), st.integers(1, 4))
def test_what_was_used_last_is_kept(uses: list[list[str]], size: int) -> None:
    cache = BoundedCache[int](size, max_chars=3)
    values = {"": 0, "a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "é": 6, "東京": 7, "too long": 8}
    used: list[str] = []  # the strings in order of their last use
    for keys in uses:
        for key in keys:
            found = cache.find([key])
            assert found in ([None], [values[key]])
            if key in used[-size:]:
                assert found == [values[key]]
            if found == [None]:
                cache.add({key: values[key]})
            if len(key) <= 3:
                used = [other for other in used if other != key] + [key]
            assert (key in cache) == (len(key) <= 3)
            assert len(cache) <= 2 * size
    # The strings of one call count as used in any order.
    for keys in uses:
        for key, value in zip(keys, cache.find(keys), strict=True):
            assert value in (None, values[key])
        assert len(cache) <= 2 * size


def test_more_values_than_fit() -> None:
    cache = BoundedCache[int](10, max_chars=5)
    cache.add({str(number): number for number in range(1000)})
    assert len(cache) <= 20
    assert cache.find([str(number) for number in range(990, 1000)]) == [*range(990, 1000)]
    assert cache.find(["0", "995"]) == [None, 995]
    assert cache.find([]) == []
