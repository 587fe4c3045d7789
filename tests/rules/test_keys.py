"""The text of keys: R-SALE-8."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentill.rules import keys

SECRET = "aB3_-" * 8 + "xyz"
KEY = keys.Key("op", "0123456789abcdef", SECRET)

ids = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=8, max_size=32)
secrets = st.text("ABCXYZabcxyz0189_-", min_size=43, max_size=43)


@given(ids, secrets)
def test_what_was_written_is_read_again(key_id: str, secret: str) -> None:
    # R-SALE-8
    for key in (keys.Key("op", key_id, secret), keys.Key("sk", key_id, secret)):
        assert keys.read(keys.write(key)) == key


@given(st.integers(0, len(keys.write(KEY)) - 1), st.characters(exclude_categories=["Cs"]))
def test_one_wrong_character_is_noticed(at: int, wrong: str) -> None:
    # R-SALE-8
    text = keys.write(KEY)
    altered = text[:at] + wrong + text[at + 1 :]
    assert altered == text or keys.read(altered) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tt_op_",
        "Bearer " + keys.write(KEY),
        keys.write(KEY) + "\n",
        keys.write(KEY)[:-1],
        keys.write(KEY).upper(),
        keys.write(KEY).replace("tt_op", "tt_xx"),
        "tt_op_" + "a" * 10_000,
    ],
)
def test_what_is_no_key_is_not_read(text: str) -> None:
    assert keys.read(text) is None


def test_a_key_with_an_impossible_part_is_never_written() -> None:
    with pytest.raises(AssertionError):
        keys.write(keys.Key("op", "UPPER_ID", SECRET))


def test_only_the_digest_is_kept_and_only_the_secret_fits_it() -> None:
    # R-SALE-8
    stored = keys.digest(SECRET)
    assert len(stored) == 32
    assert SECRET.encode() not in stored
    assert keys.matches(SECRET, stored)
    assert not keys.matches(SECRET[:-1] + "!", stored)
    assert not keys.matches(SECRET, stored[:-1])


def test_a_key_does_not_show_its_secret() -> None:
    assert SECRET not in repr(KEY)
    assert SECRET not in str(KEY)
    text = f"tried {keys.write(KEY)} twice, {keys.write(KEY)[:60]}"
    assert SECRET[:20] not in keys.redact(text)
    assert "tt_op_0123456789abcdef_… twice" in keys.redact(text)
