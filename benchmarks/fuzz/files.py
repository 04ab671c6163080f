"""Cases of spoilt files: YAML that a user wrote, and everything in a run directory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.fuzz.maker import Case, Maker
from benchmarks.fuzz.texts import TRAPS


def yaml(make: Maker) -> Case:
    """A YAML file of any kind, changed as text or as values."""
    kind = make.chance.choice(tuple(make.world.files))
    text, what = _spoilt_yaml(make, make.world.files[kind].read_text(encoding="utf-8"))
    path = make.folder / "changed.yaml"
    path.write_bytes(text)
    at, files = str(path), make.world.files
    typed: dict[str, list[list[str]]] = {
        "architecture": [["score", at], ["score", at, "--device", "cortex-m7", "--json"]],
        "space": [["spaces", at], [*make.valid(""), "--space", at]],
        "device": [
            ["devices", at],
            ["score", str(files["architecture"]), "--device", at],
            [*make.valid(""), "--device", at],
        ],
        "recipe": [[*make.once("train"), "--recipe", at]],
        "run": [["run", at, "--out", str(make.folder / "out"), "--threads", "1", "--workers", "1"]],
    }
    return Case(kind="yaml", words=make.chance.choice(typed[kind]), what=f"{kind}: {what}")


def _spoilt_yaml(make: Maker, text: str) -> tuple[bytes, str]:
    import yaml

    way = make.chance.choice(
        ("value", "value", "value", "trap", "trap", "line", "cut", "bytes", "bomb", "head")
    )
    lines = text.splitlines()
    if way == "value":
        values = yaml.safe_load(text)
        what = make.change(values)
        return yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode(
            "utf-8", "surrogatepass"
        ), what
    if way == "trap":
        places = [at for at, line in enumerate(lines) if ":" in line]
        at, trap = make.chance.choice(places), make.chance.choice(TRAPS)
        head = lines[at].partition(":")[0]
        lines[at] = f"{head}: {trap}"
        return "\n".join(lines).encode("utf-8", "surrogatepass"), ascii(
            f"{head.strip()}: {trap[:30]}"
        )
    if way == "line":
        at, other = make.chance.randrange(len(lines)), make.chance.randrange(len(lines))
        if make.chance.random() < 0.3:
            del lines[at]
        elif make.chance.random() < 0.5:
            lines.insert(at, lines[other])
        else:
            lines[at] = make.chance.choice((" ", "\t")) + lines[at]
        return "\n".join(lines).encode(), f"line {at + 1}"
    data = text.encode()
    if way == "cut":
        at = make.chance.randrange(len(data))
        return data[:at], f"cut at {at}"
    if way == "bytes":
        return make.flipped(data), "bytes"
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
        added = make.chance.choice(heads)
        return added + data, ascii(added[:12])
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    return (bomb + text).encode(), "nine times nine aliases"


def spoilt(make: Maker) -> Case:
    """A run directory in which one file was cut, changed, exchanged, or is something else."""
    run = make.folder / "run"
    shutil.copytree(make.world.whole, run, symlinks=True)
    data, final, network = str(make.world.data["npz"]), str(run / "final"), str(run / "network")
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
    part, words = make.chance.choice(commands)
    below = run / part
    files = sorted(
        path for path in below.rglob("*") if path.is_file() and path.suffix not in (".png", ".svg")
    )
    weights = [
        0.05 if "/export/c/" in str(path) or "/pareto/" in str(path) else 1.0 for path in files
    ]
    path = make.chance.choices(files, weights)[0]
    what = _spoil(make, path, files)
    if make.chance.random() < 0.15:
        words = [*words, "--json"]
    return Case(kind="spoilt", words=words, what=f"{path.relative_to(run)}: {what}")


def _spoil(make: Maker, path: Path, files: list[Path]) -> str:
    ways = ["bytes", "bytes", "cut", "thing", "thing", "gone", "foreign", "exchanged", "longer"]
    if path.suffix in (".json", ".yaml", ".jsonl"):
        ways += ["values"] * 6
    way = make.chance.choice(ways)
    data = path.read_bytes()
    if way == "bytes":
        path.write_bytes(make.flipped(data))
    elif way == "cut":
        path.write_bytes(data[: make.chance.randrange(len(data) + 1)])
    elif way == "thing":
        way = make.thing(path)
    elif way == "gone":
        path.unlink()
    elif way == "longer":
        path.write_bytes(data + make.chance.choice((b"\n", b"\x00", b"x", data)))
    elif way in ("foreign", "exchanged"):
        source = (
            make.world.other / path.relative_to(make.folder / "run")
            if way == "foreign"
            else make.chance.choice(files)
        )
        if source.exists():
            path.write_bytes(source.read_bytes())
    else:
        way = _spoil_values(make, path, data.decode())
    return way


def _spoil_values(make: Maker, path: Path, text: str) -> str:
    import yaml

    lines = text.splitlines() if path.suffix == ".jsonl" else [text]
    at = make.chance.randrange(len(lines))
    try:
        values = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(lines[at])
    except ValueError:
        return "nothing"
    if not isinstance(values, dict | list):
        return "nothing"
    what = make.change(values)
    if path.suffix == ".yaml":
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    else:
        lines[at] = json.dumps(values)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if make.chance.random() < 0.6 and isinstance(values, dict) and path.suffix != ".jsonl":
        what += _sealed(make, path, values)
    return what


def _sealed(make: Maker, path: Path, values: dict[str, Any]) -> str:
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
