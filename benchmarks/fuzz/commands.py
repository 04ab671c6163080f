"""Cases of the command line itself: options, names, settings, environment."""

from __future__ import annotations

import shutil
from typing import Any

from benchmarks.fuzz.maker import Case, Maker
from benchmarks.fuzz.texts import NAMES, SETTINGS, TRAPS, VARIABLES, VERBS, WORDS


def options(make: Maker) -> Case:
    """Options of any command with any text."""
    verb = make.chance.choice(VERBS)
    words = make.valid(verb)
    params = _params(make, verb)
    told = []
    for _ in range(make.chance.choice((1, 1, 1, 2, 3))):
        param = make.chance.choice(params)
        name = make.chance.choice([*param.opts, *param.secondary_opts])
        if getattr(param, "is_flag", False) or getattr(param, "count", False):
            added = [name] if make.chance.random() < 0.9 else [f"{name}={make.word()}"]
        elif name.startswith("-"):
            word = make.word()
            added = [f"{name}={word}"] if make.chance.random() < 0.5 else [name, word]
        else:
            added = [make.word()]
            if make.chance.random() < 0.7:
                words = [verb] if verb else []
        told.append(" ".join(added)[:60])
        words = [*words, *added]
    if make.chance.random() < 0.05:
        words.insert(0, make.word())
    return Case(kind="options", words=words, what=ascii("; ".join(told)))


def _params(make: Maker, verb: str) -> list[Any]:
    from nas_engine.cli.main import cli

    command = cli.commands[verb] if verb else cli
    return [param for param in command.params if param.name != "open"]


def names(make: Maker) -> Case:
    """Folders and data with names that mean something to a shell, a compiler, a page or a
    terminal.
    """
    name = make.chance.choice(NAMES)
    verb = make.chance.choice(
        ("run", "train", "evaluate", "refine", "export", "verify", "report", "plot", "")
    )
    words = make.valid(verb)
    at = make.folder / name
    if (make.folder / "run").exists():
        shutil.move(make.folder / "run", at)
    words = [str(at) if word == str(make.folder / "run") else word for word in words]
    if verb == "verify" and make.chance.random() < 0.5:
        words = [word if word != "onnx" else "host-c" for word in words]
    if verb in ("run", "train", "evaluate", "verify", "refine") and make.chance.random() < 0.6:
        kind = make.chance.choice(("npz", "images"))
        own = make.folder / f"{make.chance.choice(NAMES)}{'.npz' if kind == 'npz' else ''}"
        if not own.exists():
            (shutil.copy if kind == "npz" else shutil.copytree)(make.world.data[kind], own)
            words = [*words, "--data", str(own)]
            name = f"{name}, data {own.name}"
    return Case(kind="names", words=words, what=ascii(f"{verb or 'search'} in {name}"))


def settings(make: Maker) -> Case:
    """``--set`` with any text."""
    key = make.chance.choice(SETTINGS)
    text = (
        make.chance.choice((*TRAPS, *TRAPS, *WORDS)) if make.chance.random() < 0.8 else make.word()
    )
    setting = f"{key}={text}" if make.chance.random() < 0.95 else text
    run = make.folder / "run"
    if make.chance.random() < 0.5:
        shutil.copytree(make.world.whole, run)
    words = [
        "run",
        str(make.world.config),
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


def environment(make: Maker) -> Case:
    """Variables of the environment that cannot be used, and folders that cannot be."""
    name = make.chance.choice(tuple(VARIABLES))
    value = make.chance.choice(VARIABLES[name])
    verb = (
        "verify"
        if name == "CC"
        else make.chance.choice(("verify", "devices", "report", "", "evaluate", "export"))
    )
    words = make.valid(verb)
    if verb == "verify":
        words = [word if word != "onnx" else "host-c" for word in words]
    return Case(
        kind="environment",
        words=words,
        what=ascii(f"{name}={value[:30]}"),
        environment={name: value},
    )
