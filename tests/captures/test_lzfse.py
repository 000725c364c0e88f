import tracemalloc

import lzfse
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llava.captures.lzfse import unpack, unpacked_size

NOISE = np.random.default_rng(0).random(60_000).astype("<f4").tobytes()  # several blocks
SMOOTH = (1 + np.add.outer(np.arange(48), np.arange(64)) / 1000).astype("<f4").tobytes()


@pytest.mark.parametrize("data", [NOISE, SMOOTH, b"abc", bytes(100), NOISE[:3000], bytes(1 << 20)])
def test_all_kinds_of_blocks(data):
    packed = lzfse.compress(data)
    assert unpacked_size(packed) == len(data)
    assert unpack(packed, len(data)) == data


def test_a_bomb_is_not_unpacked():
    block = lzfse.compress(bytes(1 << 20)).removesuffix(b"bvx$")
    bomb = block * 128 + b"bvx$"
    assert len(bomb) < 1 << 17
    tracemalloc.start()
    with pytest.raises(ValueError, match="unpacks to 134217728 bytes, expected 12288"):
        unpack(bomb, 12288)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_cut_anywhere_it_is_an_error_of_ours():
    packed = lzfse.compress(SMOOTH)
    for length in range(len(packed)):
        with pytest.raises(ValueError, match="cut short"):
            unpack(packed[:length], len(SMOOTH))


@settings(deadline=None, max_examples=200)
@given(at=st.integers(0, 5000), flipped=st.integers(1, 255))
def test_damaged_anywhere_it_is_an_error_of_ours_or_has_the_size(at, flipped):
    packed = bytearray(lzfse.compress(SMOOTH))
    packed[at % len(packed)] ^= flipped
    try:
        size = len(unpack(bytes(packed), len(SMOOTH)))
    except ValueError:
        return
    assert size == len(SMOOTH)
