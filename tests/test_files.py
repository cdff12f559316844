"""Files written whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from affect.files import TEMPORARY, replacing, write_whole


def test_a_file_is_created_and_replaced(tmp_path: Path) -> None:
    for content in (b"one", b"two\n"):
        write_whole(tmp_path / "a.md", content)
        assert (tmp_path / "a.md").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["a.md"]


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.md", b"whole")

    def fail() -> None:
        with replacing(tmp_path / "a.md") as temporary:
            temporary.write_bytes(b"ha")
            assert temporary.name.startswith(TEMPORARY)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "a.md").read_bytes() == b"whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.md"]
