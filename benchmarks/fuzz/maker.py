"""Draws, odd files and valid commands that the cases are made with."""

from __future__ import annotations

import math
import os
import random
import shutil
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fuzz.texts import WORDS
from benchmarks.fuzz.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One wrong input."""

    kind: str
    words: list[str]
    what: str
    """Description of the mistake, for people."""
    environment: dict[str, str] = field(default_factory=dict)


class Maker:
    """Makes the case of one seed and index in a folder.

    Args:
        world: What it copies from.
        folder: An empty folder, the working directory of the case.
        chance: Source of every draw.
    """

    def __init__(self, world: World, folder: Path, chance: random.Random) -> None:
        self.world, self.folder, self.chance = world, folder, chance

    def word(self) -> str:
        kind = self.chance.random()
        if kind < 0.12:
            path = self.folder / f"thing{self.chance.randrange(10**6)}"
            self.thing(path)
            return str(path)
        if kind < 0.2:
            return "".join(
                chr(
                    self.chance.choice(
                        (self.chance.randrange(1, 128), self.chance.randrange(160, 0x2FFF))
                    )
                )
                for _ in range(6)
            )
        if kind < 0.3:
            return str(
                self.chance.choice(
                    [
                        *self.world.data.values(),
                        *self.world.files.values(),
                        self.world.whole / "final",
                    ]
                )
            )
        return self.chance.choice(WORDS)

    def thing(self, path: Path) -> str:
        """Put something at a path that is no plain file of the right kind, and return what."""
        what = self.chance.choice(
            (
                "fifo",
                "socket",
                "folder",
                "loop",
                "dangling",
                "zero",
                "full",
                "empty",
                "garbage",
                "large",
            )
        )
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if what == "fifo":
            os.mkfifo(path)
        elif what == "socket":
            with socket.socket(socket.AF_UNIX) as made, _inside(path.parent):
                made.bind(path.name)
        elif what == "folder":
            path.mkdir()
        elif what in ("loop", "dangling", "zero", "full"):
            to = {
                "loop": path.name,
                "dangling": "/nowhere/x",
                "zero": "/dev/zero",
                "full": "/dev/full",
            }[what]
            path.symlink_to(to)
        elif what == "large":  # no room is taken
            with path.open("wb") as file:
                file.truncate(2**37)
        else:
            path.write_bytes(
                b"" if what == "empty" else self.chance.randbytes(self.chance.randrange(1, 3000))
            )
        return what

    def valid(self, verb: str) -> list[str]:
        """Return a command of a verb that works, on copies in this folder, and takes a second or
        two.
        """
        at = self.folder / "run"
        if verb == "run":
            return [
                "run",
                str(self.world.config),
                "--out",
                str(at),
                "--threads",
                "1",
                "--workers",
                "1",
            ]
        if verb in ("score", "devices", "spaces"):
            files = {"score": "architecture", "devices": "device", "spaces": "space"}
            return [verb, str(self.world.files[files[verb]])]
        if verb == "":
            more = [
                "--space",
                str(self.world.files["space"]),
                "--resolution",
                "8",
                "--candidates",
                "2000",
            ]
            return [
                *more,
                "--sram",
                "16k",
                "--flash",
                "48k",
                "--workers",
                "1",
                "--out",
                str(at),
                "--no-plots",
            ]
        parts = {"plot": "search", "train": "network", "refine": "network"}
        shutil.copytree(self.world.whole / parts.get(verb, "final"), at, symlinks=True)
        more_of = {
            "train": [
                "--data",
                str(self.world.data["npz"]),
                "--epochs",
                "2",
                "--threads",
                "1",
                "--force",
            ],
            "refine": [
                "--images",
                "64",
                "--swaps",
                "1",
                "--threads",
                "1",
                "--force",
                "--solver-time",
                "1s",
            ],
            "evaluate": ["--threads", "1", "--limit", "20"],
            "verify": ["--backend", "onnx", "--images", "2"],
        }
        return [verb, str(at), *more_of.get(verb, [])]

    def once(self, verb: str) -> list[str]:
        if (self.folder / "run").exists():
            shutil.rmtree(self.folder / "run")
        return self.valid(verb)

    def change(self, values: Any) -> str:
        """Change one value somewhere in nested plain values."""
        node, path = values, []
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = self.chance.choice(keys)
            path.append(str(key))
            if isinstance(node[key], dict | list) and node[key] and self.chance.random() < 0.8:
                node = node[key]
                continue
            way = self.chance.random()
            if way < 0.15:
                del node[key]
                return f"without {'.'.join(path)}"
            if way < 0.25 and isinstance(node, dict):
                node[self.chance.choice(("", "x", "é", 1, "a\nb", "format"))] = node[key]
                return f"key beside {'.'.join(path)}"
            new = self.nasty()
            node[key] = new
            return ascii(f"{'.'.join(path)} = {str(new)[:30]}")
        return "nothing"

    def nasty(self) -> Any:
        numbers = (
            0,
            1,
            -1,
            2,
            3,
            7,
            2**31,
            2**63,
            10**30,
            -(2**64),
            0.1,
            -0.5,
            1e308,
            math.inf,
            -math.inf,
            math.nan,
            65537,
            1024,
        )
        others = (
            None,
            True,
            False,
            "",
            "x",
            "8",
            "é\n\x07",
            "\x1b[0m",
            "x" * 5000,
            [],
            {},
            [[]],
            {"a": {"b": 1}},
            [0] * 3000,
            [1, "a"],
        )
        return self.chance.choice((*numbers, *others))

    def flipped(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.chance.choice((1, 1, 1, 3, 30))):
            if changed:
                changed[self.chance.randrange(len(changed))] ^= 1 << self.chance.randrange(8)
        return bytes(changed)


class _inside:  # noqa: N801
    """A working directory for a while: names of sockets are short."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        self.before = os.getcwd()
        os.chdir(self.folder)

    def __exit__(self, *_: object) -> None:
        os.chdir(self.before)
