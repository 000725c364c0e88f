"""The base model's pictures: of rooms that no data set has, labelled patch by patch, rendered once."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from llava.rooms import pictures
from llava.rooms.make import MOST_SEED, scene_seed
from llava.rooms.pictures import FIRST_SEED, Pictures, patch_majority, picture_rooms, pictures_of


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2)).flatmap(
        lambda s: st.tuples(
            arrays(
                np.int16,
                (s[0], s[1] * s[2] + min(s[3], s[2] - 1)) + (s[1] * s[2] + min(s[3], s[2] - 1),),
                elements=st.integers(-1, 4),
            ),
            st.just(s[2]),
        )
    )
)
def test_a_patch_is_what_most_of_its_pixels_are(drawn: tuple[np.ndarray, int]) -> None:
    ids, patch = drawn
    found = patch_majority(ids, patch)
    cells = ids.shape[1] // patch
    assert found.shape == (len(ids), cells, cells) and found.dtype == np.int16
    for view, row, column in np.ndindex(found.shape):
        pixels = ids[view, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
        values, counts = np.unique(pixels, return_counts=True)  # ascending: argmax takes the smaller of a tie
        assert found[view, row, column] == values[counts.argmax()]


def test_pictures_of_a_room() -> None:
    drawn = pictures_of(3, 2, 48, 12)
    assert drawn.images.shape == (2, 48, 48, 3) and drawn.images.dtype == np.uint8
    assert drawn.patches.shape == (2, 4, 4)
    assert set(np.unique(drawn.patches)) <= set(drawn.items) | {-1}
    assert drawn.images.std() > 10
    again = pictures_of(3, 2, 48, 12)
    assert (again.images == drawn.images).all() and (again.patches == drawn.patches).all()
    assert (pictures_of(4, 2, 48, 12).images != drawn.images).any()


def test_no_room_is_one_of_a_data_set() -> None:
    assert scene_seed(MOST_SEED, 10_000) < FIRST_SEED


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What is rendered, in this process."""
    calls = []

    def render(rooms: int, count: int, size: int, patch: int, workers: int | None):
        calls.append((rooms, count, size, patch))
        return (pictures_of(index, count, size, patch) for index in range(rooms))

    monkeypatch.setattr(pictures, "_rendered", render)
    return calls


def same(a: Pictures, b: Pictures) -> bool:
    return (a.images == b.images).all() and (a.patches == b.patches).all() and set(a.items) == set(b.items)


def test_pictures_are_rendered_once(tmp_path: Path, rendered: list) -> None:
    first = picture_rooms(tmp_path / "work", 2, 2, 24, 12)
    second = picture_rooms(tmp_path / "work", 2, 2, 24, 12)
    assert len(rendered) == 1
    for index, (made, read) in enumerate(zip(first, second, strict=True)):
        assert same(made, read) and same(made, pictures_of(index, 2, 24, 12))


def test_pictures_of_other_rooms_or_sizes_are_not_taken(tmp_path: Path, rendered: list) -> None:
    picture_rooms(tmp_path, 1, 1, 24, 12)
    assert picture_rooms(tmp_path, 1, 1, 36, 12)[0].images.shape == (1, 36, 36, 3)
    note = tmp_path / "pictures-1x1.json"
    note.write_text(json.dumps({**json.loads(note.read_text()), "things": "of another version of the rooms"}))
    picture_rooms(tmp_path, 1, 1, 36, 12)
    note.unlink()  # as after a kill
    picture_rooms(tmp_path, 1, 1, 36, 12)
    assert len(rendered) == 4
