"""What a killed run leaves behind, and what two runs do to each other."""

from pathlib import Path

import pytest

from llava.resumable import only_one, replaced


def test_one_process_a_folder(tmp_path: Path) -> None:
    with (
        only_one(tmp_path, "is baking"),
        pytest.raises(ValueError, match="another process is cooking: wait"),
        only_one(tmp_path, "is cooking"),
    ):
        pass
    with only_one(tmp_path, "is cooking"):
        pass


def test_a_failed_replacement_keeps_the_old(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(TypeError), replaced(path) as partial:
        partial.write_text(b"no text")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    (tmp_path / ".file.part-elsewhere-1").mkdir()  # left by a killed run
    (tmp_path / ".file.part0").touch()  # somebody else's
    with replaced(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new" and sorted(tmp_path.iterdir()) == [tmp_path / ".file.part0", path]


def test_a_process_that_lingers_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    lingering = replaced(path)
    old = lingering.__enter__()
    old.write_text("old")
    elsewhere = old.rename(old.with_name(".file.part-elsewhere-1"))
    with replaced(path) as partial:
        partial.write_text("new")
    assert not elsewhere.exists()
    with pytest.raises(FileNotFoundError):
        lingering.__exit__(None, None, None)
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
