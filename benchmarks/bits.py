"""One bit changed at random in a text file that the program wrote: refused, said, without effect, or taken unsaid.

python -m benchmarks.bits --count 1500

In a run directory, before a command that reads the file. *Refused*: an error. *Said*: the output or the page names the file or what does
not fit. *Without effect*: output and all files are those of an undisturbed command. *Unsaid* is what is left, and must be 0.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.faults import files_of
from benchmarks.fuzz import World, make_world
from benchmarks.in_process import Outcome, in_child, warm

READERS: dict[str, tuple[str, list[str]]] = {
    "run.yaml": ("run --out {run} --threads 1 --workers 1", ["run.yaml"]),
    "run.json": ("report {run}", ["run.json"]),
    "search": (
        "report {run}/search",
        ["search/search.jsonl", "search/best.yaml", "search/config.yaml", "search/pareto/001.yaml", "search/memory_plan.json"],
    ),
    "report": (
        "report {run}/final",
        [
            *("final/verification.json", "final/layer_errors.json", "final/allocation.json", "final/training/metrics.jsonl"),
            *("final/training/recipe.yaml", "final/training/result.json", "final/config.yaml", "final/best.yaml"),
        ],
    ),
    "refinement": ("report {run}", ["network/refine/comparison.json", "network/training/metrics.jsonl"]),
    "evaluate": ("evaluate {run}/final --threads 1", ["final/best.yaml", "final/training/result.json", "final/integer/model.json"]),
    "verify": (
        "verify {run}/final --backend onnx --images 2",
        ["final/export/quant.json", "final/export/settings.json", "final/export/memory_plan.json", "final/integer/model.json"],
    ),
    "resume": (
        "train {run}/network --resume --data {data} --epochs 2 --batch-size 64 --threads 1",
        ["network/training/recipe.yaml", "network/best.yaml", "network/config.yaml"],
    ),
}
"""A command, and files that it reads."""

_SAID = re.compile(r"digest|damaged|does not fit|no longer|changed|stale|not checked|again|other ", re.I)


class Bits:
    """Undisturbed commands on a whole run, and what a changed bit makes of them.

    Args:
        world: The run.
        folder: An empty folder.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.world, self.folder, self.run = world, folder, folder / "run"
        self.plain: dict[str, tuple[Outcome, dict[str, str]]] = {}

    def _once(self, reader: str) -> tuple[Outcome, dict[str, str]]:
        words = [word.format(run=self.run, data=self.world.data["npz"]) for word in READERS[reader][0].split()]
        outcome = in_child(words, self.folder, work_s=60)
        return outcome, files_of(self.run)

    def _fresh(self) -> None:
        shutil.rmtree(self.run, ignore_errors=True)
        shutil.copytree(self.world.whole, self.run)

    def undisturbed(self, reader: str) -> tuple[Outcome, dict[str, str]]:
        """Return what a command says and leaves on the run as it is: only the files that it leaves alike twice."""
        if reader not in self.plain:
            left = []
            for _ in range(2):
                self._fresh()
                left.append(self._once(reader))
            same = {name: digest for name, digest in left[0][1].items() if left[1][1].get(name) == digest}
            self.plain[reader] = (left[0][0], same)
        return self.plain[reader]

    def case(self, chance: random.Random) -> tuple[str, str, str]:
        """Change one bit and return the file, where, and the verdict."""
        reader = chance.choice(tuple(READERS))
        name = chance.choice(READERS[reader][1])
        before, files = self.undisturbed(reader)
        self._fresh()
        path = self.run / name
        if not path.exists():
            return name, "", "no such file"
        data = bytearray(path.read_bytes())
        at, bit = chance.randrange(len(data)), chance.randrange(8)
        data[at] ^= 1 << bit
        path.write_bytes(bytes(data))
        where = f"{READERS[reader][0].split()[0]}, byte {at}, bit {bit}: {bytes(data[max(at - 20, 0) : at + 20])!r}"
        return name, where, self._verdict(name, *self._once(reader), before, files)

    def _verdict(self, name: str, after: Outcome, left: dict[str, str], before: Outcome, files: dict[str, str]) -> str:
        if after.faults() and after.faults() != before.faults():
            return f"FAULT {after.faults()}"
        if "error: " in after.err:
            return "refused"
        differing = {file for file, digest in files.items() if left.get(file) != digest} - {name}
        if after.out == before.out and not differing:
            return "without effect"
        page = "".join(path.read_text(encoding="utf-8") for path in self.run.rglob("report.html"))
        texts = [after.err, after.out, *re.findall(rf"[^<>]*{re.escape(Path(name).name)}[^<>]*", page)]
        texts += re.findall(r"[^<>]*does not fit[^<>]*", page)
        return "said" if any(_SAID.search(text) for text in texts) else "UNSAID"


def main() -> int:
    """Change bits, print a table by file and every one that was taken unsaid."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bits", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1500)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    warm("nas_engine")
    counts: dict[str, Counter[str]] = {}
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        world = make_world(Path(folder))
        (Path(folder) / "bits").mkdir()
        bits = Bits(world, Path(folder) / "bits")
        for index in range(given.count):
            name, where, verdict = bits.case(random.Random(f"bits {given.seed} {index}"))
            counts.setdefault(name, Counter())[verdict] += 1
            if verdict.isupper() or verdict.startswith("FAULT"):
                wrong += 1
                print(f"{verdict}: {index}: {name}: {where}", flush=True)
    columns = ("refused", "said", "without effect", "UNSAID", "no such file")
    print(f"{'file':34} {' '.join(f'{column:>14}' for column in columns)}")
    for name, count in [*sorted(counts.items()), ("all", sum(counts.values(), Counter()))]:
        print(f"{name:34} {' '.join(f'{count[column]:14}' for column in columns)}")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
