"""Wrong inputs through the whole command line: options, YAML, spoilt run directories, data,
settings, the environment.

python -m benchmarks.fuzz --seed 0 --count 900

Each case runs in a forked child of one warm process, in a folder of its own. Counted are
tracebacks, exit codes other than those of the documentation, hangs (20 s without work, or after a
Ctrl-C), memory without a bound, and messages that are not one line of up to 700 printable
characters. ``--only INDEX`` runs one case of a seed again and shows all that it said.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import random
import shlex
import shutil
import socket
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import small
from benchmarks.in_process import Outcome, in_child, warm

CODES = frozenset({0, 1, 2, 3, 130})
"""Exit codes of the documentation."""

TRAPS = (
    "010",
    "1:30:00",
    "on",
    "Yes",
    "~",
    "null",
    ".inf",
    "-.inf",
    ".nan",
    "1e400",
    "9" * 400,
    "-1",
    "0",
    "0.5",
    "1_000",
    "0x_",
    "0x1F",
    "0b",
    "0o17",
    "2020-13-45",
    "2024-01-01",
    "2001-12-14t21:59:43.10-05:00",
    "!!int x",
    "!!float x",
    "!!bool maybe",
    "!!timestamp x",
    "!!binary é",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!python/object/apply:os.system ['true']",
    "!!null x",
    "!unknown x",
    "*nowhere",
    "&a [*a]",
    "&a {b: *a}",
    "{<<: 3}",
    "{<<: [1, 2]}",
    "{[1]: 2}",
    "? [a]",
    "[" * 3000,
    "{a: " * 300,
    "- " * 200,
    "'",
    '"\\x"',
    '"\\ud800"',
    '"\\0"',
    "@",
    "`",
    "%",
    "|",
    ">",
    "#",
    ":",
    "=",
    "<<",
    "\t",
    "[1, 2",
    "{}",
    "[]",
    "é" * 50,
    "١٢",
    "x" * 5000,
    "\x01",
    "\x1b[31m",
    "\u202e",
    "\u2028",
    "a\nb: 1",
    "--- 1\n--- 2",
)
"""Values that YAML 1.1, Python or a careless reader takes for something else."""

WORDS = (
    *TRAPS[:17],
    "",
    " ",
    "-",
    "--",
    "--help",
    "nan",
    "inf",
    "-inf",
    "1e9",
    "16k",
    "64k",
    "1m",
    "9g",
    "1t",
    "-5k",
    "0k",
    "2",
    "3",
    "8",
    "17",
    "96,128",
    "8,8",
    "8,",
    ",",
    "5s",
    "0s",
    "1h1",
    "auto",
    "none",
    "all",
    "digits",
    "cifar",
    "cpu",
    "cuda",
    "arena",
    "paper",
    "host-c",
    "onnx",
    "c,c",
    "c",
    "tflite,",
    "test",
    "train",
    "cortex-m7",
    "mobilenet-32",
    "clado",
    "qbr,uniform",
    "../..",
    "/",
    ".",
    "~",
    "/dev/null",
    "/dev/zero",
    "/dev/stdin",
    "/proc/self/mem",
    "/nowhere/x",
    "x" * 5000,
    "x" * 300,
    "a/" * 2000,
    "é",
    "e\u0301",
    "\udce9",
    "a\udce9b.npz",
    "\x00",
    "a\nb",
    "\x1b[2J",
    "\u202e",
    "${HOME}",
    "$(id)",
    "'\"",
    "%s%n",
    "\uff11\uff12",
    "5" * 30,
)
"""What may be typed for an option."""

NAMES = (
    'it\'s a "odd" dir',
    "a b",
    "-rf",
    "--out",
    "x*\\ __attribute__((constructor)) static void e(void){} \\*",
    "star*\\slash",
    "a??(b",
    "\u56fe\u7247\\",
    "new\nline",
    "note: forged\nverified: all",
    "\x1b[31mred\x1b[0m",
    "\u202egpj",
    "\udce9t\udce9",
    "$(touch owned) `id`",
    "$\\frac{1$",
    "<script>alert(1)<img src=x>",
    "%s%n{0}",
    "a,b=c;d|e&f#g",
    "~",
    "x" * 200,
    "e\u0301",
    "@ARENA@",
    "tab\there",
)
"""Names of folders and files."""

SETTINGS = (
    *(
        f"search.{name}"
        for name in (
            "seed",
            "sram",
            "space",
            "device",
            "stage_weights",
            "qbr",
            "max_macs",
            "memory_model",
        )
    ),
    *(
        "data.source",
        "data.limit",
        "shortlist.count",
        "verify.backends",
        "verify.images",
        "refine.method",
        "refine.images",
    ),
    *(f"train.{name}" for name in ("recipe", "epochs", "teacher", "learning_rate", "float_share")),
    *("seed", "x.y", "search", "", ".", "a.b.c", "é.é", "\x00.x"),
)
"""Keys for ``--set``, known and unknown."""

VARIABLES = {
    "CC": (
        "gcc '",
        '"',
        "",
        " ",
        "/nowhere/cc",
        "true",
        "false",
        "gcc\n-x",
        "cat",
        "é",
        "x" * 5000,
        ".",
        "gcc -DX='",
    ),
    "TMPDIR": ("/nowhere", "", "/dev/null", "/proc", ".", "é"),
    "HOME": ("", "/nowhere", "/dev/null"),
    "COLUMNS": ("x", "0", "-1", "99999999"),
    "MPLBACKEND": ("TkAgg", "x"),
    "TERM": ("é", "dumb"),
    "NO_COLOR": ("",),
    "OMP_NUM_THREADS": ("x", "0"),
    "LC_ALL": ("C", "xx"),
}
"""Values of the environment that cannot be used, or seldom are."""

VERBS = (
    "run",
    "train",
    "evaluate",
    "refine",
    "export",
    "verify",
    "report",
    "score",
    "plot",
    "devices",
    "spaces",
    "",
)


@dataclass(slots=True)
class World:
    """What all cases copy from: runs, data, files."""

    folder: Path
    data: dict[str, Path]
    config: Path
    files: dict[str, Path] = field(default_factory=dict)
    """Valid YAML by kind: architecture, space, device, recipe, run."""

    @property
    def whole(self) -> Path:
        """A whole run."""
        return self._run("whole", 0)

    @property
    def other(self) -> Path:
        """The same of another seed, made when it is first asked for."""
        return self._run("other", 1)

    def _run(self, name: str, seed: int) -> Path:
        run = self.folder / name
        if not run.exists():
            words = [
                "run",
                str(self.config),
                "--out",
                str(run),
                "--seed",
                str(seed),
                "--threads",
                "1",
                "--workers",
                "1",
                "-q",
            ]
            done = in_child(words, self.folder, work_s=600)
            if done.code != 0:
                raise RuntimeError(f"no whole run: {done.err}")
        return run


def make_world(folder: Path) -> World:
    """Make data in every format and one valid file of every kind."""
    data = small.write_data(folder / "data")
    config = small.write_config(folder, data["npz"], "onnx")
    world = World(folder, data, config)
    root = Path(__file__).parents[1]
    world.files = {
        "architecture": world.whole / "search" / "best.yaml",
        "space": folder / "space.yaml",
        "device": root / "device_profiles" / "data" / "cortex-m7.yaml",
        "recipe": root / "nas_engine" / "training" / "recipes" / "digits.yaml",
        "run": config,
    }
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(data["cifar"], data["cifar"].name)
    return world


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One wrong input."""

    kind: str
    words: list[str]
    what: str
    """What is wrong, for people."""
    environment: dict[str, str] = field(default_factory=dict)


class Maker:
    """Makes the case of one seed and index in a folder.

    Args:
        world: What it copies from.
        folder: An empty folder, the working directory of the case.
        chance: All that is drawn.
    """

    def __init__(self, world: World, folder: Path, chance: random.Random) -> None:
        self.world, self.folder, self.chance = world, folder, chance

    def case(self, kind: str) -> Case:
        """Make a case of a kind."""
        return KINDS[kind][0](self)

    # ---- options ----

    def options(self) -> Case:
        """Options of any command with any text."""
        verb = self.chance.choice(VERBS)
        words = self.valid(verb)
        params = self._params(verb)
        told = []
        for _ in range(self.chance.choice((1, 1, 1, 2, 3))):
            param = self.chance.choice(params)
            name = self.chance.choice([*param.opts, *param.secondary_opts])
            if getattr(param, "is_flag", False) or getattr(param, "count", False):
                added = [name] if self.chance.random() < 0.9 else [f"{name}={self._word()}"]
            elif name.startswith("-"):
                word = self._word()
                added = [f"{name}={word}"] if self.chance.random() < 0.5 else [name, word]
            else:
                added = [self._word()]
                if self.chance.random() < 0.7:
                    words = [verb] if verb else []
            told.append(" ".join(added)[:60])
            words = [*words, *added]
        if self.chance.random() < 0.05:
            words.insert(0, self._word())
        return Case(kind="options", words=words, what=ascii("; ".join(told)))

    def _params(self, verb: str) -> list[Any]:
        from nas_engine.cli.main import cli

        command = cli.commands[verb] if verb else cli
        return [param for param in command.params if param.name != "open"]

    def _word(self) -> str:
        kind = self.chance.random()
        if kind < 0.12:
            path = self.folder / f"thing{self.chance.randrange(10**6)}"
            self._thing(path)
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

    def _thing(self, path: Path) -> str:
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

    # ---- YAML ----

    def yaml(self) -> Case:
        """A YAML file of any kind, changed as text or as values."""
        kind = self.chance.choice(tuple(self.world.files))
        text, what = self._spoilt_yaml(self.world.files[kind].read_text(encoding="utf-8"))
        path = self.folder / "changed.yaml"
        path.write_bytes(text)
        at, files = str(path), self.world.files
        typed: dict[str, list[list[str]]] = {
            "architecture": [["score", at], ["score", at, "--device", "cortex-m7", "--json"]],
            "space": [["spaces", at], [*self.valid(""), "--space", at]],
            "device": [
                ["devices", at],
                ["score", str(files["architecture"]), "--device", at],
                [*self.valid(""), "--device", at],
            ],
            "recipe": [[*self._once("train"), "--recipe", at]],
            "run": [
                ["run", at, "--out", str(self.folder / "out"), "--threads", "1", "--workers", "1"]
            ],
        }
        return Case(kind="yaml", words=self.chance.choice(typed[kind]), what=f"{kind}: {what}")

    def _once(self, verb: str) -> list[str]:
        if (self.folder / "run").exists():
            shutil.rmtree(self.folder / "run")
        return self.valid(verb)

    def _spoilt_yaml(self, text: str) -> tuple[bytes, str]:
        import yaml

        way = self.chance.choice(
            ("value", "value", "value", "trap", "trap", "line", "cut", "bytes", "bomb", "head")
        )
        lines = text.splitlines()
        if way == "value":
            values = yaml.safe_load(text)
            what = self._change(values)
            return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode(
                "utf-8", "surrogatepass"
            ), what
        if way == "trap":
            places = [at for at, line in enumerate(lines) if ":" in line]
            at, trap = self.chance.choice(places), self.chance.choice(TRAPS)
            head = lines[at].partition(":")[0]
            lines[at] = f"{head}: {trap}"
            return "\n".join(lines).encode("utf-8", "surrogatepass"), ascii(
                f"{head.strip()}: {trap[:30]}"
            )
        if way == "line":
            at, other = self.chance.randrange(len(lines)), self.chance.randrange(len(lines))
            if self.chance.random() < 0.3:
                del lines[at]
            elif self.chance.random() < 0.5:
                lines.insert(at, lines[other])
            else:
                lines[at] = self.chance.choice((" ", "\t")) + lines[at]
            return "\n".join(lines).encode(), f"line {at + 1}"
        data = text.encode()
        if way == "cut":
            at = self.chance.randrange(len(data))
            return data[:at], f"cut at {at}"
        if way == "bytes":
            return self._flipped(data), "bytes"
        if way == "head":
            heads = (
                b"\xef\xbb\xbf",
                b"\xff\xfe",
                b"%YAML 9.9\n---\n",
                b"---\n---\n",
                b"\x00",
                b"- 1\n",
                b"x" * 6_000_000,
            )
            added = self.chance.choice(heads)
            return added + data, ascii(added[:12])
        bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
            for before, name in zip("abcdefgh", "bcdefghi", strict=True)
        )
        return (bomb + text).encode(), "nine times nine aliases"

    def _change(self, values: Any) -> str:
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
            new = self._nasty()
            node[key] = new
            return ascii(f"{'.'.join(path)} = {str(new)[:30]}")
        return "nothing"

    def _nasty(self) -> Any:
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

    # ---- spoilt run directories ----

    def spoilt(self) -> Case:
        """A run directory in which one file was cut, changed, exchanged, or is something else."""
        run = self.folder / "run"
        shutil.copytree(self.world.whole, run, symlinks=True)
        data, final, network = str(self.world.data["npz"]), str(run / "final"), str(run / "network")
        commands: list[tuple[str, list[str]]] = [
            ("", ["run", "--out", str(run), "--threads", "1", "--workers", "1"]),
            ("", ["report", str(run)]),
            ("final", ["evaluate", final, "--threads", "1"]),
            ("final", ["evaluate", final, "--layers", "--threads", "1"]),
            ("final", ["export", final]),
            ("final", ["verify", final, "--backend", "onnx", "--images", "2"]),
            ("final", ["verify", final, "--backend", "tflite-reference", "--images", "2"]),
            ("final", ["report", final]),
            (
                "network",
                ["train", network, "--resume", "--data", data, "--epochs", "2", "--threads", "1"],
            ),
            (
                "network",
                ["refine", network, "--images", "64", "--swaps", "1", "--threads", "1", "--force"],
            ),
            ("search", ["plot", str(run / "search")]),
            (
                "search",
                [
                    "--resume",
                    "--out",
                    str(run / "search"),
                    "--candidates",
                    "9000",
                    "--workers",
                    "1",
                    "--no-plots",
                ],
            ),
            ("search", ["report", str(run / "search")]),
        ]
        part, words = self.chance.choice(commands)
        below = run / part
        files = sorted(
            path
            for path in below.rglob("*")
            if path.is_file() and path.suffix not in (".png", ".svg")
        )
        weights = [
            0.05 if "/export/c/" in str(path) or "/pareto/" in str(path) else 1.0 for path in files
        ]
        path = self.chance.choices(files, weights)[0]
        what = self._spoil(path, files)
        if self.chance.random() < 0.15:
            words = [*words, "--json"]
        return Case(kind="spoilt", words=words, what=f"{path.relative_to(run)}: {what}")

    def _spoil(self, path: Path, files: list[Path]) -> str:
        ways = ["bytes", "bytes", "cut", "thing", "thing", "gone", "foreign", "exchanged", "longer"]
        if path.suffix in (".json", ".yaml", ".jsonl"):
            ways += ["values"] * 6
        way = self.chance.choice(ways)
        data = path.read_bytes()
        if way == "bytes":
            path.write_bytes(self._flipped(data))
        elif way == "cut":
            path.write_bytes(data[: self.chance.randrange(len(data) + 1)])
        elif way == "thing":
            way = self._thing(path)
        elif way == "gone":
            path.unlink()
        elif way == "longer":
            path.write_bytes(data + self.chance.choice((b"\n", b"\x00", b"x", data)))
        elif way in ("foreign", "exchanged"):
            source = (
                self.world.other / path.relative_to(self.folder / "run")
                if way == "foreign"
                else self.chance.choice(files)
            )
            if source.exists():
                path.write_bytes(source.read_bytes())
        else:
            way = self._spoil_values(path, data.decode())
        return way

    def _spoil_values(self, path: Path, text: str) -> str:
        import yaml

        lines = text.splitlines() if path.suffix == ".jsonl" else [text]
        at = self.chance.randrange(len(lines))
        try:
            values = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(lines[at])
        except ValueError:
            return "nothing"
        if not isinstance(values, dict | list):
            return "nothing"
        what = self._change(values)
        if path.suffix == ".yaml":
            path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        else:
            lines[at] = json.dumps(values)
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if self.chance.random() < 0.6 and isinstance(values, dict) and path.suffix != ".jsonl":
            what += self._sealed(path, values)
        return what

    def _sealed(self, path: Path, values: dict[str, Any]) -> str:
        """Seal changed values anew, as a sender could, so that what they say is looked at."""
        from nas_engine import sealed

        bare = {
            name: value
            for name, value in values.items()
            if name not in ("sha256", "content_sha256", "digest")
        }
        try:
            text = (
                sealed.seal_json(bare)
                if path.suffix == ".json"
                else sealed.seal_yaml(path.read_text(encoding="utf-8"))
            )
        except (ValueError, TypeError):
            return ""
        path.write_text(text, encoding="utf-8")
        return ", sealed anew"

    def _flipped(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.chance.choice((1, 1, 1, 3, 30))):
            if changed:
                changed[self.chance.randrange(len(changed))] ^= 1 << self.chance.randrange(8)
        return bytes(changed)

    # ---- data ----

    def data(self) -> Case:
        """Data of any format, spoilt."""
        kind = self.chance.choice(
            ("npz", "npz", "images", "images", "split", "idx", "cifar", "tar")
        )
        if kind == "npz":
            at = self.folder / self.chance.choice(
                ("mine.npz", "a\udce9b.npz", "new\nline.npz", "x*\\ y.npz")
            )
            what = self._npz(at)
        elif kind == "tar":
            at = self.folder / "cifar-10-python.tar.gz"
            data = (self.world.folder / at.name).read_bytes()
            cut = self.chance.random() < 0.5
            at.write_bytes(data[: self.chance.randrange(len(data))] if cut else self._flipped(data))
            what = "cut" if cut else "bytes"
        else:
            at = self.folder / self.world.data[kind].name
            shutil.copytree(self.world.data[kind], at)
            what = self._folder(at, kind)
        run = self.folder / "run"
        shutil.copytree(
            self.world.whole / ("network" if self.chance.random() < 0.3 else "final"), run
        )
        final = (run / "integer").exists()
        commands = [
            ["train", str(run), "--data", str(at), "--epochs", "2", "--threads", "1", "--force"]
        ]
        if final:
            commands = [["evaluate", str(run), "--data", str(at), "--threads", "1"]]
            commands += [
                ["verify", str(run), "--data", str(at), "--backend", "onnx", "--images", "2"]
            ]
        else:
            commands += [
                [
                    "refine",
                    str(run),
                    "--data",
                    str(at),
                    "--images",
                    "64",
                    "--swaps",
                    "0",
                    "--threads",
                    "1",
                    "--force",
                ]
            ]
        return Case(kind="data", words=self.chance.choice(commands), what=f"{kind}: {what}")

    def _npz(self, at: Path) -> str:
        import numpy as np

        arrays = dict(np.load(self.world.data["npz"]))
        way = self.chance.choice(
            ("array", "array", "array", "array", "key", "bytes", "cut", "bomb", "thing", "name")
        )
        if way == "thing":
            return self._thing(at)
        if way == "array":
            key = self.chance.choice(sorted(arrays))
            value = arrays[key]
            changes: dict[str, Callable[[], Any]] = {
                "object": lambda: np.array([None, 1], object),
                "text": lambda: value.astype(str),
                "nan": lambda: np.full(value.shape, np.nan),
                "negative": lambda: -np.ones(value.shape),
                "float 1.0004": lambda: np.full(value.shape, 1.0004),
                "huge": lambda: np.full(value.shape, 2**40),
                "bool": lambda: np.ones(value.shape, bool),
                "complex": lambda: np.ones(value.shape, complex),
                "scalar": lambda: np.array(3),
                "none": lambda: value[:0],
                "one": lambda: value[:1],
                "longer": lambda: np.concatenate([value, value]),
                "other shape": lambda: value.reshape(-1),
                "one more axis": lambda: value[..., None, None],
                "zeros": lambda: np.zeros_like(value),
                "dates": lambda: np.zeros(value.shape, "datetime64[s]"),
                "records": lambda: np.zeros(len(value), [("a", int)]),
                "bytes of text": lambda: np.full(value.shape, b"\xff"),
                "strange text": lambda: np.array(
                    ["a\nb\x1b[0m", "\ud800", "x" * 5000, "é", "e\u0301", "", " ", "1", "<b>", "*/"]
                ),
            }
            way = self.chance.choice(sorted(changes))
            try:
                arrays[key] = changes[way]()
            except (ValueError, TypeError, UnicodeError):
                return "nothing"
            way = f"{key} {way}"
        elif way == "key":
            key = self.chance.choice(sorted(arrays))
            arrays[self.chance.choice(("x", "", "é/..", "x_val", "../x"))] = arrays.pop(key)
            way = f"without {key}"
        buffer = io.BytesIO()
        try:
            np.savez(buffer, **arrays)
        except (UnicodeError, ValueError):
            return "nothing"
        data = buffer.getvalue()
        if way == "bytes":
            data = self._flipped(data)
        elif way == "cut":
            data = data[: self.chance.randrange(len(data))]
        elif way == "bomb":
            data = _npz_bomb(arrays)
        at.write_bytes(data)
        return way

    def _folder(self, at: Path, kind: str) -> str:
        files = sorted(path for path in at.rglob("*") if path.is_file())
        path = self.chance.choice(files)
        ways: dict[str, Callable[[], object]] = {
            "bytes": lambda: path.write_bytes(self._flipped(path.read_bytes())),
            "cut": lambda: path.write_bytes(
                path.read_bytes()[: self.chance.randrange(path.stat().st_size)]
            ),
            "thing": lambda: self._thing(path),
            "gone": lambda: path.unlink(),
            "renamed": lambda: path.rename(
                path.with_name(os.fsdecode(b"a\xe9\n" + os.fsencode(path.name)))
            ),
            "all of one": lambda: [
                other.write_bytes(b"") for other in files if other.parent == path.parent
            ],
            "more files": lambda: [
                (path.parent / f"more{n}.txt").write_text("x") for n in range(50)
            ],
        }
        if kind in ("images", "split"):
            ways |= {
                "no class": lambda: shutil.rmtree(path.parent),
                "class renamed": lambda: path.parent.rename(
                    path.parent.with_name(os.fsdecode(b"cl\xe9"))
                ),
                "class a fifo": lambda: (shutil.rmtree(path.parent), os.mkfifo(path.parent)),
                "large image": lambda: path.write_bytes(_large_png()),
                "odd image": lambda: self._odd_image(path),
                "split renamed": lambda: path.parent.parent.rename(
                    path.parent.parent.with_name("Training")
                ),
            }
        if kind == "cifar":
            ways["program"] = lambda: path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        if kind == "idx":
            ways["header"] = lambda: path.write_bytes(_idx_of(self.chance))
        way = self.chance.choice(sorted(ways))
        ways[way]()
        return f"{path.relative_to(at)}: {way}"

    def _odd_image(self, path: Path) -> None:
        from PIL import Image

        mode = self.chance.choice(("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"))
        size = self.chance.choice(((1, 1), (1, 5000), (3000, 3000), (17, 9)))
        form = self.chance.choice(("PNG", "JPEG", "BMP", "WEBP", "GIF", "TIFF", "PPM"))
        try:
            Image.new(mode, size).save(path, form, exif=b"Exif\x00\x00" + self.chance.randbytes(40))
        except (OSError, ValueError, KeyError):
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + self.chance.randbytes(60))

    # ---- names ----

    def names(self) -> Case:
        """Folders and data with names that mean something to a shell, a compiler, a page or a
        terminal.
        """
        name = self.chance.choice(NAMES)
        verb = self.chance.choice(
            ("run", "train", "evaluate", "refine", "export", "verify", "report", "plot", "")
        )
        words = self.valid(verb)
        at = self.folder / name
        if (self.folder / "run").exists():
            shutil.move(self.folder / "run", at)
        words = [str(at) if word == str(self.folder / "run") else word for word in words]
        if verb == "verify" and self.chance.random() < 0.5:
            words = [word if word != "onnx" else "host-c" for word in words]
        if verb in ("run", "train", "evaluate", "verify", "refine") and self.chance.random() < 0.6:
            kind = self.chance.choice(("npz", "images"))
            own = self.folder / f"{self.chance.choice(NAMES)}{'.npz' if kind == 'npz' else ''}"
            if not own.exists():
                (shutil.copy if kind == "npz" else shutil.copytree)(self.world.data[kind], own)
                words = [*words, "--data", str(own)]
                name = f"{name}, data {own.name}"
        return Case(kind="names", words=words, what=ascii(f"{verb or 'search'} in {name}"))

    # ---- settings and environment ----

    def settings(self) -> Case:
        """``--set`` with any text."""
        key = self.chance.choice(SETTINGS)
        text = (
            self.chance.choice((*TRAPS, *TRAPS, *WORDS))
            if self.chance.random() < 0.8
            else self._word()
        )
        setting = f"{key}={text}" if self.chance.random() < 0.95 else text
        run = self.folder / "run"
        if self.chance.random() < 0.5:
            shutil.copytree(self.world.whole, run)
        words = [
            "run",
            str(self.world.config),
            "--out",
            str(run),
            "--threads",
            "1",
            "--workers",
            "1",
            "--set",
            setting,
        ]
        return Case(kind="settings", words=words, what=ascii(setting[:60]))

    def environment(self) -> Case:
        """Variables of the environment that cannot be used, and folders that cannot be."""
        name = self.chance.choice(tuple(VARIABLES))
        value = self.chance.choice(VARIABLES[name])
        verb = (
            "verify"
            if name == "CC"
            else self.chance.choice(("verify", "devices", "report", "", "evaluate", "export"))
        )
        words = self.valid(verb)
        if verb == "verify":
            words = [word if word != "onnx" else "host-c" for word in words]
        return Case(
            kind="environment",
            words=words,
            what=ascii(f"{name}={value[:30]}"),
            environment={name: value},
        )


KINDS: dict[str, tuple[Callable[[Maker], Case], int]] = {
    "options": (Maker.options, 32),
    "yaml": (Maker.yaml, 26),
    "names": (Maker.names, 4),
    "spoilt": (Maker.spoilt, 20),
    "data": (Maker.data, 9),
    "settings": (Maker.settings, 7),
    "environment": (Maker.environment, 2),
}
"""Every kind with its share of the cases in percent."""


class _inside:  # noqa: N801
    """A working directory for a while: names of sockets are short."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        self.before = os.getcwd()
        os.chdir(self.folder)

    def __exit__(self, *_: object) -> None:
        os.chdir(self.before)


def _large_png() -> bytes:
    """Return a PNG whose head says 60,000 x 60,000 pixels."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


def _idx_of(chance: random.Random) -> bytes:
    import gzip
    import struct

    axes = chance.choice((0, 1, 3, 4, 200))
    sizes = [chance.choice((0, 1, 8, 300, 2**31, 2**32 - 1)) for _ in range(axes)]
    content = struct.pack(f">BBBB{axes}I", 0, 0, chance.choice((8, 13, 99)), axes, *sizes) + bytes(
        chance.choice((0, 19200))
    )
    return gzip.compress(content) if chance.random() < 0.8 else content


def _npz_bomb(arrays: dict[str, Any]) -> bytes:
    """Return an .npz whose training images are 8 GiB of zeros in a few MB."""
    import zipfile

    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in arrays.items() if name != "x_train"})
    head = io.BytesIO()
    shape = (2**27, 8, 8)
    np.lib.format.write_array_header_1_0(
        head, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    with (
        zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x_train.npy", "w") as file,
    ):
        file.write(head.getvalue())
        zeros = bytes(2**24)
        for _ in range(32):  # half a GiB is enough to tell: the head says eight
            file.write(zeros)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A case that broke the rules."""

    seed: int
    index: int
    case: Case
    outcome: Outcome
    faults: tuple[str, ...]

    def __str__(self) -> str:
        said = [line for line in self.outcome.err.strip().splitlines() if line.strip()] or [""]
        words = ascii(shlex.join(["nas-search", *self.case.words]))
        return (
            f"{', '.join(self.faults)}: --seed {self.seed} --only {self.index} ({self.case.kind}: "
            f"{self.case.what})\n"
            f"    exit {self.outcome.code}, {self.outcome.seconds:.1f} s, "
            f"{self.outcome.memory / 2**20:.0f} MiB: "
            f"{said[-1][:300]!a}\n    {words[:400]}"
        )


def kind_of(seed: int, index: int) -> str:
    """Return the kind of a case."""
    chance = random.Random(f"kind {seed} {index}")
    return chance.choices(list(KINDS), [share for _, share in KINDS.values()])[0]


def run_case(
    world: World, seed: int, index: int, work_s: float = 10.0, hang_s: float = 20.0
) -> tuple[Case, Outcome, tuple[str, ...]]:
    """Make and run one case; return it, what became of it and what is wrong with that."""
    with tempfile.TemporaryDirectory(dir=world.folder) as name:
        maker = Maker(world, Path(name), random.Random(f"case {seed} {index}"))
        case = maker.case(kind_of(seed, index))

        def before() -> None:
            os.environ.update(case.environment)
            if "TMPDIR" in case.environment:
                tempfile.tempdir = None

        outcome = in_child(case.words, Path(name), before=before, work_s=work_s, hang_s=hang_s)
        owned = (Path(name) / "owned").exists()
    faults = outcome.faults(CODES) + (["code ran"] if owned else [])
    if "--json" in case.words and outcome.code == 0 and outcome.out.strip():
        try:
            json.loads(outcome.out)
        except ValueError:
            if not {"--help", "-h", "--version"} & set(case.words):
                faults.append("no JSON")
    return case, outcome, tuple(faults)


COUNTED = (
    "traceback",
    "exit code",
    "hang",
    "memory",
    "more than one line",
    "no message",
    "long line",
    "control character",
)


def main() -> int:
    """Run the cases of a seed, print a table by kind and every failure; the exit code says whether
    there was one.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=900)
    parser.add_argument("--first", type=int, default=0, help="index to begin with")
    parser.add_argument(
        "--kind", action="append", choices=list(KINDS), help="only these; default: all"
    )
    parser.add_argument("--only", type=int, default=None, help="one case, with all it said")
    parser.add_argument("--folder", default="", help="where to work; default: a temporary folder")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    warm("nas_engine")
    began = time.monotonic()
    failures: list[Failure] = []
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    with tempfile.TemporaryDirectory(dir=given.folder or None) as folder:
        world = make_world(Path(folder))
        indices = (
            range(given.first, given.first + given.count) if given.only is None else [given.only]
        )
        for index in indices:
            if given.kind and kind_of(given.seed, index) not in given.kind:
                continue
            case, outcome, faults = run_case(world, given.seed, index)
            count = counts[case.kind]
            count["cases"] += 1
            count[f"exit {outcome.code}"] += 1
            count["Ctrl-C"] += outcome.interrupted
            for fault in faults:
                count[next((word for word in COUNTED if fault.startswith(word)), "other")] += 1
            if faults:
                failures.append(
                    Failure(seed=given.seed, index=index, case=case, outcome=outcome, faults=faults)
                )
                print(failures[-1], flush=True)
            if given.only is not None:
                print(f"{case}\n{outcome.out}\n{outcome.err}\n{faults}")
    print(table(counts))
    print(
        f"{sum(count['cases'] for count in counts.values())} cases, {len(failures)} failures, "
        f"{time.monotonic() - began:.0f} s"
    )
    return int(bool(failures))


def table(counts: dict[str, Counter[str]]) -> str:
    """Return what was counted, a row for each kind."""
    columns = ("cases", "exit 0", "exit 1", "exit 2", "exit 130", "Ctrl-C", *COUNTED, "other")
    lines = [f"| kind | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for kind, count in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        lines.append(f"| {kind} | {' | '.join(str(count[name]) for name in columns)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
