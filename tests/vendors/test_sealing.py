"""Sealed texts open only here, only unchanged, only where they belong."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentill.vendors.sealing import AesSeal

_turn = itertools.count(1)


def seal(secret: bytes = b"s" * 32, purpose: str = "webhooks") -> AesSeal:
    return AesSeal(secret, purpose, lambda size: next(_turn).to_bytes(size, "big"))


@given(st.text(max_size=200), st.text(max_size=40))
def test_a_seal_opens_to_what_was_sealed(plain: str, about: str) -> None:
    assert seal().open(seal().close(plain, about), about) == plain


def test_a_seal_does_not_open_elsewhere_or_changed() -> None:
    closed = seal().close("secret", "one")
    wrong = [
        (seal(b"t" * 32), closed, "one"), (seal(purpose="answers"), closed, "one"), (seal(), closed, "two"),
        (seal(), closed[:-6] + "AAAA" + closed[-2:], "one"), (seal(), "", "one"), (seal(), "not base64 é", "one"),
    ]  # fmt: skip
    for opener, text, about in wrong:
        with pytest.raises(ValueError, match="not sealed here"):
            opener.open(text, about)


def test_the_same_text_never_looks_the_same_twice() -> None:
    assert seal().close("secret", "one") != seal().close("secret", "one")
