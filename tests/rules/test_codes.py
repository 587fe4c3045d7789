"""R-PACK-8: redemption codes as people type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentill.rules.codes import ALPHABET, BYTES, digest, make, read, tail

CHANCE = st.binary(min_size=BYTES, max_size=BYTES)


def test_what_a_code_looks_like() -> None:
    # Pinned: codes that were handed out must stay readable.
    assert make(bytes(BYTES)) == "0000-0000-0000-0000"
    assert make(bytes(range(1, BYTES + 1))) == PINNED
    assert tail(PINNED) == PINNED[-4:]


PINNED = "82GG-3R05-0160-140X"


@given(CHANCE)
def test_a_code_is_read_however_it_is_typed(chance: bytes) -> None:
    # R-PACK-8
    code = make(chance)
    plain = code.replace("-", "")
    assert read(code) == read(code.lower()) == read(f" {plain} ") == read(" ".join(plain)) == plain
    assert read(code.replace("0", "O").replace("1", "l")) == read(code.replace("1", "I")) == plain


@given(CHANCE, st.integers(0, 15), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_noticed(chance: bytes, at: int, wrong: str) -> None:
    plain = make(chance).replace("-", "")
    typed = plain[:at] + wrong + plain[at + 1 :]
    assert (read(typed) is None) == (typed != plain)


@given(CHANCE, st.integers(0, 15), st.integers(0, 15))
def test_two_exchanged_characters_are_noticed(chance: bytes, a: int, b: int) -> None:
    plain = make(chance).replace("-", "")
    letters = list(plain)
    letters[a], letters[b] = letters[b], letters[a]
    typed = "".join(letters)
    assert (read(typed) is None) == (typed != plain)


@pytest.mark.parametrize(
    "typed", ["", "0000-0000-0000-000", "0000-0000-0000-0000-0", "U000-0000-0000-0000", "é" * 16]
)
def test_what_cannot_be_a_code(typed: str) -> None:
    assert read(typed) is None


def test_the_digest_is_keyed() -> None:
    code = read(make(bytes(BYTES)))
    assert code is not None
    assert len(digest(b"a", code)) == 32
    assert digest(b"a", code) != digest(b"b", code)
