"""State of a stage from the digests of its inputs and outputs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas_engine.digests import digests, file_digest
from nas_engine.runs.ledger import State, changed_output, digest_of, stamp, standing
from nas_engine.runs.run_record import DONE, RUNNING, StageRecord

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def stage(**changes: object) -> StageRecord:
    values = {
        "name": "train",
        "state": DONE,
        "key": "k",
        "settings": {"recipe": {"epochs": 4}, "seed": 0},
        "inputs": {"data": "d", "network": "n"},
        "command": None,
        "outputs": {},
        "figures": {},
    }
    return StageRecord(**(values | changes))  # type: ignore[arg-type]


@given(st.dictionaries(st.text(), PLAIN, min_size=2))
def test_a_digest_does_not_depend_on_the_order_of_keys(values: dict[str, object]) -> None:
    assert digest_of(values) == digest_of(dict(reversed(values.items())))
    assert digest_of(values) != digest_of({**values, "one more key than before": 1})


def test_digests_of_folders_are_those_of_their_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "x").write_bytes(b"x")
    (tmp_path / "a" / "y").write_bytes(b"y")
    found = digests(tmp_path, [tmp_path / "a"])
    assert found == {
        "a/b/x": hashlib.sha256(b"x").hexdigest(),
        "a/y": hashlib.sha256(b"y").hexdigest(),
    }
    assert file_digest(tmp_path / "gone") == "none"


def test_data_are_other_data_when_a_file_changes(tmp_path: Path) -> None:
    image = tmp_path / "data" / "train" / "1.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"1234")
    before = stamp(str(tmp_path / "data"))
    assert stamp(str(tmp_path / "data")) == before
    os.utime(image, ns=(1, 1))
    assert stamp(str(tmp_path / "data")) != before
    assert stamp("digits") == "digits"


def test_entries_that_cannot_be_looked_at_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "cat"
    folder.mkdir(parents=True)
    (folder / "1.png").write_bytes(b"1234")
    (folder / "dangling.png").symlink_to("/nowhere/2.png")
    (folder / ".hidden.png").symlink_to("/nowhere/3.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "again").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")).write_bytes(b"1234")
    before = stamp(str(tmp_path / "data"))
    assert stamp(str(tmp_path / "data")) == before
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [*listed(path), "vanished.png"])
    assert stamp(str(tmp_path / "data")) not in (before, str(tmp_path / "data"))
    for name in ("\0", "x" * 5000):
        assert stamp(name) == name


class TestStanding:
    def now(
        self, before: StageRecord | None, root: Path, key: str = "k", **changes: object
    ) -> tuple[State, str]:
        values = {
            "settings": {"recipe": {"epochs": 4}, "seed": 0},
            "inputs": {"data": "d", "network": "n"},
        } | changes
        found = standing(before, key, values["settings"], values["inputs"], root)  # type: ignore[arg-type]
        return found.state, found.reason

    def test_a_stage_that_was_never_begun_begins(self, tmp_path: Path) -> None:
        assert self.now(None, tmp_path) == (State.BEGINS, "")

    def test_a_stage_that_stopped_goes_on(self, tmp_path: Path) -> None:
        assert self.now(stage(state=RUNNING), tmp_path) == (State.GOES_ON, "")

    def test_a_stage_that_stopped_under_other_settings_does_not_go_on(self, tmp_path: Path) -> None:
        assert self.now(stage(state=RUNNING), tmp_path, "other")[0] is State.AGAIN

    @pytest.mark.parametrize("content", [b"left", b"other", None])
    def test_a_stage_is_done_while_its_files_are_what_it_left(
        self, tmp_path: Path, content: bytes | None
    ) -> None:
        if content is not None:
            (tmp_path / "file").write_bytes(content)
        before = stage(outputs={"file": hashlib.sha256(b"left").hexdigest()})
        expected = {
            b"left": (State.DONE, ""),
            b"other": (State.AGAIN, "file is no longer what it left"),
            None: (State.AGAIN, "file is gone"),
        }
        assert self.now(before, tmp_path) == expected[content]

    def test_what_has_changed_is_named(self, tmp_path: Path) -> None:
        settings = {"recipe": {"epochs": 8}, "seed": 0, "limit": None}
        state, reason = self.now(
            stage(), tmp_path, "other", settings=settings, inputs={"data": "d", "network": "m"}
        )
        assert (state, reason) == (State.AGAIN, "recipe.epochs 4 -> 8, other network")

    def test_another_version_is_named_where_nothing_else_has_changed(self, tmp_path: Path) -> None:
        assert self.now(stage(), tmp_path, "other") == (
            State.AGAIN,
            "another version of nas-search",
        )


class TestExport:
    """Its folder holds what the stage left, and nothing else."""

    def left(self, root: Path) -> StageRecord:
        path = root / "final" / "export" / "c" / "model.c"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"left")
        return stage(name="export", outputs=digests(root, [root / "final" / "export"]))

    def test_it_is_done_while_nothing_is_added(self, tmp_path: Path) -> None:
        assert changed_output(self.left(tmp_path), tmp_path) is None

    @pytest.mark.parametrize(
        ("add", "kind"),
        [
            (Path.touch, "a file"),
            (Path.mkdir, "a folder"),
            (lambda at: at.symlink_to("model.c"), "a link"),
            (os.mkfifo, "a named pipe"),
        ],
    )
    def test_what_is_added_is_named(
        self, add: Callable[[Path], None], kind: str, tmp_path: Path
    ) -> None:
        before = self.left(tmp_path)
        add(tmp_path / "final" / "export" / "c" / "nas_zz.c")
        assert (
            changed_output(before, tmp_path)
            == f"final/export/c/nas_zz.c ({kind}) is not what it left"
        )

    def test_a_link_in_its_place_is_named(self, tmp_path: Path) -> None:
        before, folder = self.left(tmp_path), tmp_path / "final" / "export"
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
        assert changed_output(before, tmp_path) == "final/export is no folder"

    def test_a_pipe_in_place_of_a_file_is_not_opened(self, tmp_path: Path) -> None:
        before, file = self.left(tmp_path), tmp_path / "final" / "export" / "c" / "model.c"
        file.unlink()
        os.mkfifo(file)
        assert (
            changed_output(before, tmp_path) == "final/export/c/model.c is no longer what it left"
        )


def test_within_folders_kinds_stand_for_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "a" / "pipe")
    (tmp_path / "b").symlink_to("a")
    found = digests(tmp_path, [tmp_path / "a", tmp_path / "b", tmp_path / "c"])
    assert found == {"a/link": "a link", "a/pipe": "a named pipe", "b": "a link", "c": "none"}
    assert file_digest(tmp_path / "a" / "link") == "a device"
