"""Valid runs, data and files that every case copies from."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import small
from benchmarks.in_process import in_child


@dataclass(slots=True)
class World:
    """Runs, data and files that all cases copy from."""

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
    root = Path(__file__).parents[2]
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
