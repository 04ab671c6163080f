"""Both stages, what they do to the network, and that a training continued from any step ends as an
uninterrupted one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from nas_engine.datasets import Split
from nas_engine.integer.lowering import lower
from nas_engine.integer.reference import predict as predict_integer
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.models.widen import widen
from nas_engine.quantization.extract import extract
from nas_engine.quantization.lsq import step_range
from nas_engine.quantization.prepare import is_quantised
from nas_engine.training import loop
from nas_engine.training.augmentation import Augmentation
from nas_engine.training.loop import (
    TrainingError,
    TrainingTask,
    accuracy,
    begin_stage,
    first_state,
    is_done,
    predict,
    resumed_state,
    train,
)
from nas_engine.training.networks import load_network
from nas_engine.training.recipe import Distillation
from nas_engine.training.schedule import LONGEST_WARMUP, learning_rate
from nas_engine.training.state import TrainingState, copy_network
from nas_engine.training.teacher_forms import FOLDED, GIVEN, HALF
from nas_engine.training.teachers import Teacher, teacher_from
from tests.kernels.kernels import kernels
from tests.training.tasks import (
    digits,
    digits_architecture,
    same,
    small_recipe,
    small_task,
    tensors,
)

STEPS = 12
"""Of ``small_recipe``: three in each of two epochs of two stages."""

Row = dict[str, Any]


def hinting_teacher() -> Teacher:
    torch.manual_seed(5)
    return teacher_from(GraphNetwork(widen(digits_architecture())), "wide")


VARIANTS: dict[str, Callable[[], TrainingTask]] = {
    "sgd": small_task,
    "adamw-average": lambda: small_task(
        small_recipe(optimiser="adamw", learning_rate=0.01, ema_decay=0.9, freeze_norm_share=0.5)
    ),
    "mixup": lambda: small_task(
        small_recipe(mixup=0.4, label_smoothing=0.1, ema_decay=0.9, step_init="paper"), seed=3
    ),
    "kernels": lambda: small_task(small_recipe(ema_decay=0.9), seed=4, kernels=kernels()),
    "teacher": lambda: small_task(
        small_recipe(distillation=Distillation(features=2.0), gradient_clip=1.0, ema_decay=0.9),
        teacher=hinting_teacher(),
    ),
}


class Pause:
    """Stops after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def watch(self, state: TrainingState) -> None:
        self.left -= 1

    def stop(self) -> bool:
        return self.left <= 0


def without_times(rows: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "elapsed_s"} for row in rows]


@pytest.fixture(scope="module")
def whole() -> Callable[[str], tuple[dict[str, Any], list[Row]]]:
    """Final state of an uninterrupted training of a variant."""
    known: dict[str, tuple[dict[str, Any], list[Row]]] = {}

    def ending(variant: str) -> tuple[dict[str, Any], list[Row]]:
        if variant not in known:
            task, rows = VARIANTS[variant](), []
            known[variant] = (
                tensors(train(task, first_state(task), record=rows.append)),
                without_times(rows),
            )
        return known[variant]

    return ending


class TestResume:
    @pytest.mark.parametrize("variant", VARIANTS)
    @pytest.mark.parametrize("steps", [6, 7])
    def test_once(self, tmp_path: Path, whole: Any, variant: str, steps: int) -> None:
        task, path, pause, rows = VARIANTS[variant](), tmp_path / "checkpoint.pt", Pause(steps), []
        state = train(
            task,
            first_state(task),
            checkpoint=path,
            stop=pause.stop,
            watch=pause.watch,
            record=rows.append,
        )
        assert not is_done(task, state)
        state = train(task, resumed_state(task, path), record=rows.append)
        assert same((tensors(state), without_times(rows)), whole(variant))

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_after_every_step(self, tmp_path: Path, whole: Any, variant: str) -> None:
        task, path, rows = VARIANTS[variant](), tmp_path / "checkpoint.pt", []
        state, runs = first_state(task), 0
        while not is_done(task, state):
            pause = Pause(1)
            train(
                task, state, checkpoint=path, stop=pause.stop, watch=pause.watch, record=rows.append
            )
            state, runs = resumed_state(task, path), runs + 1
        assert runs == STEPS
        assert same((tensors(state), without_times(rows)), whole(variant))

    @pytest.mark.parametrize("began", [GIVEN, FOLDED, HALF])
    def test_the_teacher_keeps_the_form_that_it_began_with(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, began: str
    ) -> None:
        endings, path = [], tmp_path / "checkpoint.pt"
        task = small_task(small_recipe(epochs=2), teacher=hinting_teacher())
        for pause in (Pause(100), Pause(2)):
            monkeypatch.setattr(loop, "fastest_form", lambda *_: began)
            state = train(
                task, first_state(task), checkpoint=path, stop=pause.stop, watch=pause.watch
            )
            monkeypatch.setattr(loop, "fastest_form", lambda *_: GIVEN)  # of another machine
            state = train(task, resumed_state(task, path))
            assert state.teacher_form == began
            endings.append(tensors(state))
        assert same(*endings)

    def test_variants_differ_and_another_seed_does(self, whole: Any) -> None:
        losses = {variant: whole(variant)[1][-1]["loss"] for variant in VARIANTS}
        assert len(set(losses.values())) == len(VARIANTS)
        task = small_task(seed=1)
        rows: list[Row] = []
        train(task, first_state(task), record=rows.append)
        assert rows[-1]["loss"] != losses["sgd"]

    def test_time_goes_on(self, tmp_path: Path) -> None:
        task, path, pause = small_task(), tmp_path / "checkpoint.pt", Pause(4)
        spent = train(
            task, first_state(task), checkpoint=path, stop=pause.stop, watch=pause.watch
        ).elapsed_s
        assert resumed_state(task, path).elapsed_s == spent > 0
        assert train(task, resumed_state(task, path)).elapsed_s > spent

    def test_checkpoints_within_an_epoch(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.pt"
        task = small_task(small_recipe(epochs=1))
        steps = []

        def watch(state: TrainingState) -> None:
            steps.append(resumed_state(task, path).step if path.exists() else None)

        train(task, first_state(task), checkpoint=path, checkpoint_every_s=0.0, watch=watch)
        assert steps == [None, 1, 2]
        assert (resumed_state(task, path).epoch, resumed_state(task, path).step) == (1, 0)


class TestStages:
    def test_float_first_then_quantised_from_the_average(self, tmp_path: Path) -> None:
        task = small_task(small_recipe(ema_decay=0.9, quantised_learning_rate=0.0))
        seen = []

        def watch(state: TrainingState) -> None:
            assert (
                is_quantised(state.network)
                == is_quantised(state.average)
                == (state.stage == "quantised")
            )
            if state.stage == "float":
                assert isinstance(state.network.stem.output, nn.ReLU6)
                weights = state.network.stem.weight.detach(), state.average.stem.weight.detach()
                assert not torch.equal(*weights)
            seen.append((state.stage, state.epoch, state.step, state.updates))

        state = train(task, first_state(task), watch=watch, finished_float=tmp_path / "float.pt")
        steps = [(epoch, step, 3 * epoch + step) for epoch in range(2) for step in (1, 2, 3)]
        assert seen == [(stage, *place) for stage in ("float", "quantised") for place in steps]
        kept = load_network(tmp_path / "float.pt")
        assert not is_quantised(kept)
        for (_, before), (_, after) in zip(kept.units(), state.network.units(), strict=True):
            assert torch.equal(
                before.weight, after.weight
            )  # a rate of zero: as the second stage began

    @pytest.mark.parametrize(("share", "stages"), [(1.0, ["float"] * 2), (0.0, ["quantised"] * 2)])
    def test_one_stage_alone(self, tmp_path: Path, share: float, stages: list[str]) -> None:
        task, rows = small_task(small_recipe(epochs=2, float_share=share)), []
        state = train(
            task, first_state(task), record=rows.append, finished_float=tmp_path / "float.pt"
        )
        assert [row["stage"] for row in rows] == stages
        assert is_quantised(state.network) == (share == 0)
        assert (tmp_path / "float.pt").exists() == (share == 1)

    def test_statistics_are_frozen_for_the_last_share(self) -> None:
        task = small_task(small_recipe(epochs=2, float_share=0.0, freeze_norm_share=0.5))
        means = []
        train(
            task,
            first_state(task),
            watch=lambda state: means.append(state.network.stem.norm.running_mean.clone()),
        )  # type: ignore[operator,union-attr]
        moves = [not torch.equal(before, after) for before, after in itertools.pairwise(means)]
        assert moves == [True, True, False, False, False]

    def test_it_learns_and_the_integer_model_keeps_it(self) -> None:
        recipe = small_recipe(
            epochs=6, batch_size=32, learning_rate=0.1, quantised_learning_rate=0.03
        )
        task = small_task(recipe, dataset=digits(None))
        rows: list[Row] = []
        state = train(task, first_state(task), record=rows.append)
        losses = [row["loss"] for row in rows]
        assert losses[2] < 0.6 * losses[0]
        assert losses[5] < losses[3]
        quantised = accuracy(state.average, task.dataset.test)
        assert quantised == rows[-1]["accuracy"] > 60
        test = task.dataset.test
        integer = predict_integer(
            lower(extract(state.average, task.dataset.classes), {}), test.images
        )
        assert abs(100 * np.mean(integer == test.labels) - quantised) < 3


class TestSteps:
    @pytest.mark.parametrize(
        ("batch", "steps"), [(2, 20), (13, 3), (39, 1), (40, 1), (65536, 1), (38, 2)]
    )
    def test_count_of_an_epoch(self, batch: int, steps: int) -> None:
        task = small_task(small_recipe(batch_size=batch, epochs=1))
        assert task.steps == steps
        if steps < 3:
            state = train(task, first_state(task))
            assert state.updates == steps

    def test_two_images_are_enough(self) -> None:
        split = Split(images=digits().train.images[:2], labels=np.array([0, 1]))
        task = small_task(dataset=replace(digits(), classes=("a", "b"), train=split, test=split))
        assert task.steps == 1
        assert is_done(task, train(task, first_state(task)))

    def test_rate_and_groups(self) -> None:
        task = small_task(small_recipe(warmup_epochs=1.0, step_learning_rate=0.3))
        rates = []
        train(
            task,
            first_state(task),
            watch=lambda state: rates.append(
                [group["lr"] for group in state.optimiser.param_groups]
            ),
        )
        for stage, peak in enumerate((0.05, 0.02)):
            for step in range(6):
                rate = learning_rate(step, 6, 3, peak)
                assert rates[6 * stage + step] == (
                    [rate, rate] if stage == 0 else [rate, rate, rate * 0.3]
                )

    def test_gradient_clip(self) -> None:
        norms = []

        def watch(state: TrainingState) -> None:
            gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
            norms.append(math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients)))

        task = small_task(small_recipe(gradient_clip=0.01))
        train(task, first_state(task), watch=watch)
        assert norms == pytest.approx([0.01] * STEPS, rel=1e-3)


class TestSchedule:
    @pytest.mark.parametrize(
        ("steps", "warmup"), [(1, 0), (1, 5), (10, 0), (10, 1), (10, 100), (57, 7), (4, 2)]
    )
    def test_against_the_formula(self, steps: int, warmup: int) -> None:
        rising = min(warmup, math.floor(LONGEST_WARMUP * steps))
        for step in range(steps):
            rate = learning_rate(step, steps, warmup, 0.3)
            if step < rising:
                assert rate == pytest.approx(0.3 * (step + 1) / rising)
            else:
                assert rate == pytest.approx(
                    0.15 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))
                )
            assert 0 < rate <= 0.3


class Sick(nn.Module):
    """A teacher whose answers are infinite from some step on."""

    def __init__(self, healthy: int) -> None:
        super().__init__()
        self.left = healthy

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        return torch.full((len(x), 10), 0.0 if self.left >= 0 else torch.inf)


class TestFailure:
    def test_infinite_teacher(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.pt"
        task = small_task(teacher=Teacher(module=Sick(4), class_count=10, description="sick"))
        with pytest.raises(TrainingError) as caught:
            train(task, first_state(task), checkpoint=path)
        assert str(caught.value) == (
            "training stopped at float epoch 2, step 2: the loss is nan; the last checkpoint is "
            "kept; "
            "train again with --force and a lower --learning-rate or another teacher"
        )
        alone = replace(task, teacher=None)
        kept = resumed_state(alone, path)
        assert (kept.epoch, kept.step) == (1, 0)
        assert is_done(alone, train(alone, kept))

    def test_rate_that_is_too_large(self, tmp_path: Path) -> None:
        path = tmp_path / "checkpoint.pt"
        task = small_task(small_recipe(learning_rate=100.0, weight_decay=1.0, epochs=40))
        with pytest.raises(
            TrainingError,
            match=(
                r"at \w+ epoch \d+, step \d: .*; train again with --force and a lower "
                r"--learning-rate$"
            ),
        ):
            train(task, first_state(task), checkpoint=path)
        assert all(
            value.isfinite().all()
            for value in resumed_state(task, path).network.state_dict().values()
        )

    def test_weights_after_the_last_step(self, tmp_path: Path) -> None:
        def spoil(state: TrainingState) -> None:
            if (state.epoch, state.step) == (1, 3):
                state.network.head.weight.data[0, 0] = torch.nan

        task, path = small_task(), tmp_path / "checkpoint.pt"
        with pytest.raises(
            TrainingError, match="at float epoch 2, step 3: the weights are not finite"
        ):
            train(task, first_state(task), checkpoint=path, watch=spoil)
        assert resumed_state(task, path).epoch == 1

    @pytest.mark.parametrize("what", ["hard_loss", "accuracy", "calibrate"])
    def test_memory(self, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError(
                "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: "
                "you tried"
            )

        monkeypatch.setattr(f"nas_engine.training.loop.{what}", fail)
        task = small_task()
        state = first_state(task)
        with pytest.raises(
            TrainingError,
            match="out of memory with batches of 16; close other programs and --resume",
        ):
            train(task, state)

    def test_bugs_are_not_hidden(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

        monkeypatch.setattr("nas_engine.training.loop.hard_loss", fail)
        task = small_task()
        with pytest.raises(RuntimeError, match="mat1"):
            train(task, first_state(task))


class TestPredict:
    def test_in_parts_and_back_in_the_same_mode(self, monkeypatch: pytest.MonkeyPatch) -> None:
        network = GraphNetwork(digits_architecture())
        images = digits().test.images
        for mode in (True, False):
            network.train(mode)
            with monkeypatch.context() as patch:
                patch.setattr("nas_engine.training.loop.EVALUATION_BATCH", 7)
                parts = predict(network, images)
            assert network.training is mode
            assert network.stem.norm.training is mode
            assert network.stem.norm.num_batches_tracked == 0
            np.testing.assert_allclose(parts, predict(network, images), atol=1e-5)
        assert accuracy(network, digits().test) == 100 * np.mean(
            parts.argmax(1) == digits().test.labels
        )

    def test_centre_of_larger_training_images(self) -> None:
        task = small_task(
            small_recipe(epochs=1, augmentation=Augmentation(kind="none")), dataset=digits(40, 10)
        )
        assert is_done(task, train(task, first_state(task)))


class TestStepsOfWeights:
    """They stay within what holds the weights of their channel; free, single ones run away within
    one epoch.
    """

    def after_an_epoch(
        self, *, free: bool, check: bool = False, **changes: Any
    ) -> dict[str, Tensor]:
        """Return each layer's steps as multiples of its widths' largest, after an epoch of
        quantised training, by name of the layer.
        """
        recipe = small_recipe(epochs=2, quantised_learning_rate=0.1, **changes)
        task = small_task(recipe, dataset=digits(400))
        state = train(
            task, first_state(task), stop=(pause := Pause(task.steps)).stop, watch=pause.watch
        )  # the float stage
        state = begin_stage(task, copy_network(state.average), "quantised")
        for network in (state.network, state.average) if free else ():
            for _, unit in network.units():
                unit.weight_quantiser.step_range = (0.0, math.inf)

        def watch(state: TrainingState) -> None:
            for network in (state.network, state.average) if check else ():
                assert all(
                    self.within(steps, unit)
                    for steps, unit in zip(
                        multiples(network).values(), self.units(network), strict=True
                    )
                )

        state = train(task, state, watch=watch)
        return multiples(state.average)

    @staticmethod
    def units(network: GraphNetwork) -> list[Any]:
        return [unit for _, unit in network.units()]

    @staticmethod
    def within(steps: Tensor, unit: Any) -> bool:
        low, high = step_range(unit.weight_quantiser.bits)
        return bool(((steps >= low * (1 - 1e-6)) & (steps <= high * (1 + 1e-6))).all())

    @pytest.mark.parametrize(
        "changes", [{}, {"ema_decay": 0.9}, {"optimiser": "adamw", "step_init": "paper"}]
    )
    def test_within_bounds_after_every_update(self, changes: dict[str, Any]) -> None:
        self.after_an_epoch(free=False, check=True, **changes)

    def test_free_they_run_away(self) -> None:
        free, bounded = (self.after_an_epoch(free=free)["stem"] for free in (True, False))
        assert free.min() < 0.25 or free.max() > 1.0
        assert bounded.min() >= 0.25 * (1 - 1e-6)
        assert bounded.max() <= 1 + 1e-6


def multiples(network: GraphNetwork) -> dict[str, Tensor]:
    """Return each layer's steps as multiples of those that just hold the largest weights."""
    return {
        name: unit.weight_quantiser.step.flatten()
        * unit.weight_quantiser.limit
        / unit.weight.abs().flatten(1).amax(1)
        for name, unit in network.units()
    }
