from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphrec.errors import InputError
from graphrec.graph.vocabulary import Vocabulary


def test_numbers_are_dense_and_in_order_of_first_appearance() -> None:
    vocabulary = Vocabulary(["b", "a"])
    assert vocabulary.extend(["", "ä"]) == range(2, 4)
    assert [vocabulary.number(key) for key in ("b", "a", "", "ä")] == [0, 1, 2, 3]
    assert vocabulary.number("c") is None
    assert "a" in vocabulary
    assert "c" not in vocabulary
    assert len(vocabulary) == 4
    assert list(vocabulary) == ["b", "a", "", "ä"]


def test_many_at_once() -> None:
    vocabulary = Vocabulary(["b", "a", "c"])
    numbers = vocabulary.numbers(iter(["c", "?", "b"]))
    assert numbers.dtype == np.int32
    assert numbers.tolist() == [2, -1, 0]
    assert vocabulary.keys(np.array([2, 2, 0], np.int32)) == ["c", "c", "b"]
    assert vocabulary.keys([]) == []
    assert vocabulary.numbers([]).dtype == np.int32


@pytest.mark.parametrize("keys", [["c", "a"], ["c", "d", "c"], ["c", 3], ["c", None]])
def test_a_bad_extension_changes_nothing(keys: list[str]) -> None:
    vocabulary = Vocabulary(["a"])
    with pytest.raises(InputError, match=repr(keys[-1])):
        vocabulary.extend(keys)
    assert list(vocabulary) == ["a"]
    assert vocabulary.number("c") is None


@pytest.mark.parametrize("number", [-1, 2])
def test_a_number_beyond_the_vocabulary_is_an_error(number: int) -> None:
    vocabulary = Vocabulary(["a", "b"])
    with pytest.raises(InputError, match="0 <= number < 2"):
        vocabulary.key(number)
    with pytest.raises(InputError, match="0 <= number < 2"):
        vocabulary.keys([0, number])


@given(st.lists(st.lists(st.text(max_size=3)), max_size=8))
def test_growth_never_renumbers(batches: list[list[str]]) -> None:
    vocabulary = Vocabulary()
    first_seen: dict[str, int] = {}
    for batch in batches:
        vocabulary.extend(key for key in dict.fromkeys(batch) if key not in first_seen)
        for key in batch:
            first_seen.setdefault(key, len(first_seen))
        assert {key: vocabulary.number(key) for key in first_seen} == first_seen
    assert vocabulary.keys(vocabulary.numbers(first_seen)) == list(first_seen)
    assert [vocabulary.key(number) for number in range(len(vocabulary))] == list(first_seen)
