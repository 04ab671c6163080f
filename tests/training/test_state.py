"""Optimiser groups, moving average, and checkpoints that cannot be continued: refused in one line,
the file untouched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas_engine.architecture import Bits, Classifier
from nas_engine.errors import FileFormatError, PathError
from nas_engine.files import StorageError
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.quantization.lsq import ActivationQuantiser, WeightQuantiser
from nas_engine.quantization.prepare import insert_quantisers
from nas_engine.training.distillation import FeatureHint
from nas_engine.training.loop import TrainingTask, first_state, resumed_state
from nas_engine.training.recipe import Distillation
from nas_engine.training.state import (
    copy_network,
    make_optimiser,
    read_checkpoint,
    save_checkpoint,
    update_average,
)
from tests.training.tasks import digits_architecture, same, small_recipe, small_task, tensors


class TestOptimiser:
    @pytest.mark.parametrize("name", ["sgd", "adamw"])
    def test_groups_hold_every_parameter_once(self, name: str) -> None:
        network, hint = GraphNetwork(digits_architecture()), FeatureHint(32, 64)
        insert_quantisers(network)
        recipe = small_recipe(optimiser=name, weight_decay=0.3, step_learning_rate=0.7)
        decayed, plain, steps = make_optimiser(network, hint, recipe).param_groups
        assert [(group["weight_decay"], group["factor"]) for group in (decayed, plain, steps)] == [
            (0.3, 1.0),
            (0.0, 1.0),
            (0.0, 0.7),
        ]
        names = {
            id(parameter): name
            for name, parameter in [*network.named_parameters(), *hint.named_parameters()]
        }
        found = [
            names.pop(id(parameter))
            for group in (decayed, plain, steps)
            for parameter in group["params"]
        ]
        assert names == {}
        sizes = [len(group["params"]) for group in (decayed, plain, steps)]
        assert all(name.endswith("weight") and ".norm." not in name for name in found[: sizes[0]])
        assert all(
            ".norm." in name or name == "classifier.bias" for name in found[sizes[0] : -sizes[2]]
        )
        assert all(name.endswith(".step") for name in found[-sizes[2] :])
        assert sizes[2] == sum(
            isinstance(module, ActivationQuantiser | WeightQuantiser)
            for module in network.modules()
        )

    def test_no_steps_in_float(self) -> None:
        assert (
            len(
                make_optimiser(
                    GraphNetwork(digits_architecture()), None, small_recipe()
                ).param_groups
            )
            == 2
        )


class TestAverage:
    @torch.no_grad()
    def test_against_scalars(self) -> None:
        network = GraphNetwork(digits_architecture())
        average = copy_network(network)
        expected = float(network.head.weight[0, 0])
        mean = float(network.stem.norm.running_mean[0])  # type: ignore[index,union-attr]
        for n in range(1, 30):
            network.head.weight += 0.1 * n
            network.stem.norm.running_mean -= n  # type: ignore[operator]
            network.stem.norm.num_batches_tracked += 1  # type: ignore[operator]
            update_average(average, network, 0.7, n)
            decay = min(0.7, (1 + n) / (10 + n))
            expected = decay * expected + (1 - decay) * float(network.head.weight[0, 0])
            mean = decay * mean + (1 - decay) * float(network.stem.norm.running_mean[0])  # type: ignore[index,union-attr]
        assert float(average.head.weight[0, 0]) == pytest.approx(expected, rel=1e-5)
        assert float(average.stem.norm.running_mean[0]) == pytest.approx(mean, rel=1e-5)  # type: ignore[index,union-attr]
        assert average.stem.norm.num_batches_tracked == 29

    def test_none(self) -> None:
        network = GraphNetwork(digits_architecture())
        before = network.head.weight.clone()
        update_average(network, network, 0.5, 1)
        assert torch.equal(network.head.weight, before)

    @pytest.mark.parametrize("quantised", [False, True])
    def test_copy_shares_nothing(self, quantised: bool) -> None:
        network = GraphNetwork(digits_architecture())
        if quantised:
            insert_quantisers(network)
        copy = copy_network(network)
        assert same(copy.state_dict(), network.state_dict())
        assert not {id(p) for p in copy.parameters()} & {id(p) for p in network.parameters()}


@pytest.fixture
def saved(tmp_path: Path) -> tuple[TrainingTask, Path]:
    """A task and its checkpoint."""
    task, path = small_task(small_recipe(ema_decay=0.5)), tmp_path / "checkpoint.pt"
    save_checkpoint(path, first_state(task), task.recipe, task.fingerprint)
    return task, path


def refused(task: TrainingTask, path: Path) -> str:
    """Return the message, after a look that it is one line and that the file stayed."""
    before = path.read_bytes()
    with pytest.raises(FileFormatError) as caught:
        resumed_state(task, path)
    assert path.read_bytes() == before
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert message.endswith("or train again with --force") or "version" in message
    return message.removeprefix(f"{path}: ")


class TestCheckpoint:
    def test_round_trip(self, saved: tuple[TrainingTask, Path]) -> None:
        task, path = saved
        assert same(tensors(resumed_state(task, path)), tensors(first_state(task)))

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            (
                {"epochs": 30},
                (
                    "was begun with epochs 4 (now 30); the schedule depends on it, so give the "
                    "same again"
                ),
            ),
            (
                {"epochs": 8, "batch_size": 8},
                "was begun with epochs 4 (now 8), batch_size 16 (now 8);",
            ),
            (
                {"distillation": Distillation(weight=0.1)},
                "was begun with distillation.weight 0.7 (now 0.1);",
            ),
        ],
    )
    def test_other_recipe(
        self, saved: tuple[TrainingTask, Path], changes: dict[str, Any], says: str
    ) -> None:
        task, path = saved
        assert refused(replace(task, recipe=replace(task.recipe, **changes)), path).startswith(says)

    def test_recipes_are_compared_by_value_and_not_by_name(
        self, saved: tuple[TrainingTask, Path]
    ) -> None:
        task, path = saved
        resumed_state(
            replace(
                task,
                recipe=replace(
                    task.recipe, name="copy", mixup=0, distillation=Distillation(temperature=4)
                ),
            ),
            path,
        )

    def test_other_architecture(self, saved: tuple[TrainingTask, Path]) -> None:
        task, path = saved
        other = replace(task.architecture, classifier=Classifier(class_count=10, bits=Bits(4, 8)))
        assert refused(replace(task, architecture=other), path).startswith(
            "is of another architecture than best.yaml; put the older"
        )

    def test_other_data_seed_or_teacher(self, saved: tuple[TrainingTask, Path]) -> None:
        task, path = saved
        message = refused(replace(task, fingerprint="train: these; seed 1; teacher auto"), path)
        assert message.startswith(
            "was begun with other data, seed or teacher (seed 0; teacher none; now seed 1; teacher "
            "auto);"
        )

    def test_other_version(
        self, saved: tuple[TrainingTask, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task, path = saved
        monkeypatch.setattr("nas_engine.training.state.FORMAT", "nas-search/training/9")
        says = (
            "is a checkpoint of another version ('nas-search/training/1', this is "
            "'nas-search/training/9'); train again"
        )
        assert refused(task, path).startswith(says)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: b"",
            lambda data: data[:20],
            lambda data: data[:32],
            lambda data: data[: len(data) // 2],
            lambda data: data[:-1],
            lambda data: data[:-32],
            lambda data: data + b"\0",
            lambda data: hashlib.sha256(b"").digest(),
        ],
    )
    def test_cut_off(
        self, saved: tuple[TrainingTask, Path], damage: Callable[[bytes], bytes]
    ) -> None:
        task, path = saved
        path.write_bytes(damage(path.read_bytes()))
        assert refused(task, path).startswith(
            "is not a whole checkpoint (cut off or damaged); put a copy back"
        )

    @settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_changed_bits_and_other_bytes(
        self, saved: tuple[TrainingTask, Path], data: st.DataObject
    ) -> None:
        task, path = saved
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        changed = (
            whole[:at] + bytes([whole[at] ^ (1 << data.draw(st.integers(0, 7)))]) + whole[at + 1 :]
        )
        try:
            path.write_bytes(data.draw(st.one_of(st.just(changed), st.binary(max_size=200))))
            assert refused(task, path).startswith("is not a whole checkpoint")
        finally:
            path.write_bytes(whole)

    def test_missing_or_a_folder(self, tmp_path: Path) -> None:
        task = small_task()
        for path, problem in ((tmp_path / "none.pt", "cannot be read"), (tmp_path, "is a folder")):
            with pytest.raises(PathError, match=problem):
                read_checkpoint(path, task.architecture, task.recipe, task.fingerprint)

    def test_full_disk_keeps_the_older_one(
        self, saved: tuple[TrainingTask, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task, path = saved
        before = path.read_bytes()

        def fail(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("os.fsync", fail)
        state = first_state(task)
        state.step = 1
        with pytest.raises(StorageError, match="No space left on device"):
            save_checkpoint(path, state, task.recipe, task.fingerprint)
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]
