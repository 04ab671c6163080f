"""Sensitivities: pairs as one forward pass each gives them, Gauss-Newton as loops give it, resumed
as uninterrupted.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.network_problem import network_problem
from benchmarks.sensitivities import brute_force_pairs
from benchmarks.sensitivities import run as run_study
from nas_engine.allocation.problem import Levels
from nas_engine.allocation.records import Sensitivity
from nas_engine.errors import FileFormatError, InputError
from nas_engine.models.cifar_resnet import cifar_resnet
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.training.loop import prepared
from nas_engine.training.perturbation import Perturbations
from nas_engine.training.sensitivities import (
    MeasurementError,
    MeasurementStoppedError,
    measure_pairs,
    measure_singles,
)
from nas_engine.training.subject import subject_of
from tests.training.networks import small_architecture
from tests.training.subjects import (
    Attention,
    PlainNetwork,
    Toy,
    images_and_labels,
    perturbed,
    seeded,
)

KINDS = ["weights", "activations", "both", "tied"]
IMAGES, LABELS = images_and_labels(7)


def logits_with(perturbations: Perturbations, choices: dict[int, int]) -> torch.Tensor:
    """Return the logits with some choices, the others as in the reference, the images in chunks as
    everywhere.
    """
    changes = dict(perturbations.reference)
    for variable, level in choices.items():
        changes.update(perturbations.change(variable, level))
    with torch.no_grad():
        return torch.cat(
            [perturbations.subject.forward(x, changes) for _, x in perturbations.chunks(IMAGES)]
        ).double()


def losses_with(
    perturbations: Perturbations, choices: dict[int, int], loss: str = "labels"
) -> np.ndarray:
    """Return the loss of each image."""
    logits = logits_with(perturbations, choices)
    if loss == "labels":
        return functional.cross_entropy(logits, torch.from_numpy(LABELS), reduction="none").numpy()
    p, q = logits_with(perturbations, {}).softmax(1), logits.softmax(1)
    return (p * (p / q).log()).sum(1).numpy()


def choices_of(perturbations: Perturbations) -> list[tuple[int, int]]:
    return [
        (i, b)
        for i, variable in enumerate(perturbations.problem.variables)
        for b in range(len(variable.bits))
    ]


def omega(perturbations: Perturbations, loss: str) -> np.ndarray:
    """CLADO's matrix of each image by its definition, ``(images, n, n)``, each loss from a pass of
    its own.
    """
    base = losses_with(perturbations, {}, loss)
    choices = choices_of(perturbations)
    single = [losses_with(perturbations, {i: b}, loss) - base for i, b in choices]
    matrix = np.zeros((len(base), len(choices), len(choices)))
    for (k, (i, b)), (m, (j, c)) in itertools.combinations(enumerate(choices), 2):
        if i != j:
            pair = losses_with(perturbations, {i: b, j: c}, loss) - base
            matrix[:, k, m] = matrix[:, m, k] = pair - single[k] - single[m]
    for k, change in enumerate(single):
        matrix[:, k, k] = 2 * change
    return matrix


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize(("base", "loss"), [("widest", "labels"), ("float", "kl")])
def test_pairs_are_what_one_pass_each_gives(kinds: str, base: str, loss: str) -> None:
    perturbations = perturbed(kinds=kinds, base=base)
    found = measure_pairs(perturbations, IMAGES, LABELS, loss=loss)
    expected = omega(perturbations, loss)
    np.testing.assert_allclose(found.matrix, expected.mean(0), atol=1e-12)
    assert found.halves is not None
    for half in (0, 1):
        np.testing.assert_allclose(found.halves[half], expected[half::2].mean(0), atol=1e-12)
    base_losses = losses_with(perturbations, {}, loss)
    assert found.base_loss == pytest.approx(base_losses.mean())
    for at, (index, level) in enumerate(choices_of(perturbations)):
        changes = losses_with(perturbations, {index: level}, loss) - base_losses
        assert found.losses[at] == pytest.approx(changes.mean(), abs=1e-12)
        assert found.standard_errors[at] == pytest.approx(
            changes.std(ddof=1) / len(LABELS) ** 0.5, abs=1e-8
        )
        if perturbations.is_reference(index, level):
            assert found.losses[at] == 0
            assert not found.matrix[at].any()
    assert np.abs(found.matrix).max() > 1e-4
    assert (found.images, found.method) == (7, "measured")
    assert 1 < found.passes < perturbations.problem.n**2


def test_pairs_of_layers_that_read_one_tensor() -> None:
    perturbations = perturbed(seeded(Attention()), "activations")
    found = measure_pairs(perturbations, IMAGES, LABELS)
    np.testing.assert_allclose(found.matrix, omega(perturbations, "labels").mean(0), atol=1e-12)
    names = [variable.name for variable in perturbations.problem.variables]
    at = perturbations.problem.first
    assert found.matrix[at[names.index("q activations")], at[names.index("k activations")]] != 0


def test_pairs_are_those_of_the_plain_network() -> None:
    """No activation is rounded: that would turn last bits into whole steps."""
    network = seeded(GraphNetwork(small_architecture()))
    images, labels = images_and_labels(4, 16, 3, 4)
    subject = subject_of(network)
    fixed = tuple(name for name in subject.layers if not name.startswith("s1.b2"))
    problem = network_problem(subject.sizes, weight_bits=(2, 8), fixed=fixed)
    perturbations = Perturbations(subject, problem, images, base="float")
    found = measure_pairs(perturbations, images, labels)
    np.testing.assert_allclose(
        found.matrix, brute_force_pairs(perturbations, images, labels), atol=1e-12
    )
    plain = PlainNetwork(network, perturbations)

    def forward(choices: Mapping[int, int], x: Tensor) -> Tensor:
        plain.set_choices(choices)
        logits: Tensor = plain.run(x)
        return logits

    np.testing.assert_allclose(
        found.matrix, brute_force_pairs(perturbations, images, labels, forward), atol=1e-5
    )


@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("base", ["widest", "float"])
def test_gauss_newton_as_loops_give_it(kinds: str, base: str) -> None:
    perturbations = perturbed(kinds=kinds, base=base)
    problem = perturbations.problem
    found = measure_singles(perturbations, IMAGES, LABELS)
    reference = logits_with(perturbations, {})
    choices = choices_of(perturbations)
    z = [(logits_with(perturbations, {i: b}) - reference).numpy() for i, b in choices]
    changed = [k for k, (i, b) in enumerate(choices) if not perturbations.is_reference(i, b)]
    p = np.mean([(reference + torch.from_numpy(z[k])).softmax(1).numpy() for k in changed], axis=0)
    expected = np.zeros((2, problem.n, problem.n))
    for (k, (i, b)), (m, (j, c)) in itertools.product(enumerate(choices), repeat=2):
        if i != j or b == c:
            for image in range(len(IMAGES)):
                curvature = np.diag(p[image]) - np.outer(p[image], p[image])
                expected[image % 2, k, m] += z[k][image] @ curvature @ z[m][image]
    np.testing.assert_allclose(found.matrix, expected.sum(0) / len(IMAGES), atol=1e-12)
    assert found.halves is not None
    np.testing.assert_allclose(found.halves, expected / np.array([4, 3])[:, None, None], atol=1e-12)
    assert np.abs(found.matrix).max() > 1e-4
    pairs = measure_pairs(perturbations, IMAGES, LABELS)
    np.testing.assert_allclose(found.losses, pairs.losses, atol=1e-12)
    np.testing.assert_allclose(found.standard_errors, pairs.standard_errors, atol=1e-12)
    assert found.base_loss == pairs.base_loss
    assert 1 < found.passes < pairs.passes


def test_gauss_newton_predicts_small_changes_of_the_divergence() -> None:
    """Half the form is the Kullback-Leibler divergence of second order: with changes at 8 bits
    nothing else is left.
    """
    perturbations = perturbed(kinds="weights", base="float", weight_bits=(7, 8))
    problem = perturbations.problem
    gauss_newton, kl = (
        measure(perturbations, IMAGES, LABELS, loss="kl")
        for measure in (measure_singles, measure_pairs)
    )
    at = problem.positions(problem.widest)
    np.testing.assert_allclose(np.diag(gauss_newton.matrix)[at] / 2, kl.losses[at], rtol=0.05)
    x = np.zeros(problem.n)
    x[at] = 1
    together = losses_with(perturbations, dict(enumerate(problem.widest)), "kl").mean()
    assert x @ gauss_newton.matrix @ x / 2 == pytest.approx(together, rel=0.1)


def same(first: Sensitivity, second: Sensitivity) -> bool:
    names = ("matrix", "losses", "standard_errors", "halves", "base_loss", "images", "passes")
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in names)


@pytest.mark.parametrize("measure", [measure_singles, measure_pairs])
def test_resumed_equals_uninterrupted(measure: Any, tmp_path: Path) -> None:
    perturbations, path = perturbed(kinds="tied"), tmp_path / "state.npz"
    whole = measure(perturbations, IMAGES, LABELS)
    seen: list[tuple[int, int]] = []
    rounds = 0
    for _ in range(20):
        asked = itertools.count()
        try:
            found = measure(
                perturbed(kinds="tied"),
                IMAGES,
                LABELS,
                state=path,
                stop=lambda asked=asked: next(asked) >= 7,
                watch=lambda done, total: seen.append((done, total)),
            )
        except MeasurementStoppedError as error:
            stopped, rounds = error, rounds + 1
        else:
            break
    assert rounds > 0
    assert (stopped.path, stopped.total) == (path, seen[0][1])
    assert f"goes on from {path}" in str(stopped)
    assert same(found, whole)
    total = seen[0][1]
    assert seen == [(done, total) for done in range(1, total + 1)]
    assert same(
        measure(perturbations, IMAGES, LABELS, state=path, stop=lambda: True), whole
    )  # nothing is left to do


def test_state_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    measure_singles(perturbed(), IMAGES, LABELS, state=path)
    cases: list[tuple[str, Any]] = [
        (
            "network",
            lambda: measure_singles(perturbed(seeded(Toy(), 1)), IMAGES, LABELS, state=path),
        ),
        (
            "problem",
            lambda: measure_singles(perturbed(kinds="weights"), IMAGES, LABELS, state=path),
        ),
        ("images", lambda: measure_singles(perturbed(), IMAGES[:-1], LABELS[:-1], state=path)),
        ("images", lambda: measure_singles(perturbed(), IMAGES, LABELS[::-1], state=path)),
        ("options", lambda: measure_singles(perturbed(base="float"), IMAGES, LABELS, state=path)),
        ("options", lambda: measure_singles(perturbed(chunk=5), IMAGES, LABELS, state=path)),
        ("loss", lambda: measure_singles(perturbed(), IMAGES, LABELS, state=path, loss="kl")),
        ("kind of measurement", lambda: measure_pairs(perturbed(), IMAGES, LABELS, state=path)),
    ]
    for what, measure in cases:
        with pytest.raises(
            FileFormatError,
            match=(
                rf"state.npz: was measured with another .*{what}.*; give the same again, or delete "
                r"it"
            ),
        ):
            measure()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x00" * 100])
def test_damaged_state_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    path.write_bytes(content)
    with pytest.raises(
        FileFormatError,
        match=r"is damaged or no state of a measurement .*; delete it to measure again",
    ):
        measure_pairs(perturbed(), IMAGES, LABELS, state=path)


def test_a_loss_that_is_no_number_names_the_choice(tmp_path: Path) -> None:
    perturbations, path = perturbed(kinds="weights"), tmp_path / "state.npz"
    layer = perturbations.subject.layers["right"]
    perturbations._weights["right", 4] = torch.full_like(layer.weight, torch.inf)
    with pytest.raises(
        MeasurementError, match=r"the loss is nan with right weights at 4 bits; .*kept"
    ):
        measure_singles(perturbations, IMAGES, LABELS)
    with pytest.raises(
        MeasurementError, match=r"with first weights at 2 bits and right weights at 4 bits"
    ):
        measure_pairs(perturbations, IMAGES, LABELS, state=path)
    perturbations = perturbed(kinds="weights")
    perturbations._weights["linear", 2] = torch.full_like(
        perturbations.subject.layers["linear"].weight, torch.nan
    )
    with pytest.raises(MeasurementError):
        measure_pairs(perturbations, IMAGES, LABELS, state=path)
    assert path.exists()
    network = seeded(Toy())
    torch.nn.init.constant_(network.get_parameter("linear.bias"), torch.nan)
    with pytest.raises(MeasurementError, match=r"the loss is nan with no change at all"):
        measure_singles(perturbed(network), IMAGES, LABELS)


@pytest.mark.parametrize(
    ("images", "labels", "loss", "message"),
    [
        (IMAGES[:1], LABELS[:1], "labels", "1 images with 1 labels"),
        (IMAGES, LABELS[:-1], "labels", "7 images with 6 labels"),
        (IMAGES, LABELS, "mse", "loss is 'mse'; expected one of: labels, kl"),
    ],
)
def test_what_is_refused(images: Any, labels: Any, loss: str, message: str) -> None:
    for measure in (measure_singles, measure_pairs):
        with pytest.raises(InputError, match=message):
            measure(perturbed(), images, labels, loss=loss)


def test_evaluation_agrees_with_the_measured_loss() -> None:
    perturbations = perturbed()
    found = measure_singles(perturbations, IMAGES, LABELS)
    levels: Levels = perturbations.problem.widest.copy()
    levels[1] = 0
    loss, _ = perturbations.evaluate(levels, IMAGES, LABELS)
    assert loss - found.base_loss == pytest.approx(
        found.losses[perturbations.problem.first[1]], abs=1e-9
    )
    assert prepared(IMAGES, 6).shape == (7, 1, 6, 6)


def test_study_at_a_tiny_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(cifar_resnet(20).state_dict(), tmp_path / "resnet20.pt")
    rows = run_study(
        str(tmp_path / "resnet20.pt"), "digits", images=10, layers=2, weight_bits=(4, 8)
    )
    assert len(rows) == 5
    assert "9 whole passes (resnet20, base float, 2 layers, 4 choices, 10 images)" in rows[0].what
    assert rows[0].reached
    assert rows[3].reached
