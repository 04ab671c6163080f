"""Networks that the formats do not run are refused in one line that names the node."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nas_engine.exporters.bundle import subject_of
from nas_engine.exporters.exporter import ExportError
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.store import SavedModel
from nas_engine.network.graph import Node
from nas_engine.quantization.record import QuantisedNetwork
from nas_engine.testing.networks import Untrained
from tests.exporters.c_exports import small_network
from tests.exporters.c_exports import subject_of as small_subject


def refused(model: IntegerModel) -> str:
    """Return the message with which a model is refused, before and when it becomes a subject."""
    known = small_subject(small_network())
    saved = SavedModel(model=model, golden=known.golden)
    messages = set()
    for make in (lambda: subject_of(saved), lambda: replace(known, model=model)):
        with pytest.raises(ExportError) as caught:
            make()
        messages.add(str(caught.value))
    (message,) = messages
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("kind", "what"), [("max_pool", "a max pool"), ("add", "an addition"), ("clamp", "a clamp")]
)
def test_each_other_kind(kind: str, what: str) -> None:
    built = Untrained((4, 4, 2), np.random.default_rng(0))
    stem = built.layer("stem", 3, 3, 1, 8, 8)
    inputs = (stem.name,) * (2 if kind == "add" else 1)
    built.steps.append(Node(name="other", kind=kind, inputs=inputs, output="other output"))
    built.tensors.append(replace(stem, name="other output"))
    built.pool("pool", 4, 1)
    built.layer("classifier", 3, 1, 1, 8, 8, signed=True)
    assert refused(lower(built.network())) == (
        f"export: 'other' is {what}; supported are: a convolution, a depth-wise convolution, an "
        "average pool"
    )


def test_a_window_that_is_not_square() -> None:
    built = Untrained((4, 4, 2), np.random.default_rng(0))
    built.layer("stem", 3, (3, 1), 1, 8, 8)
    built.pool("pool", 4, 1)
    built.layer("classifier", 3, 1, 1, 8, 8, signed=True)
    message = refused(lower(built.network()))
    assert message == "export: 'stem' has a window of 3x1; supported are square ones"


def test_several_outputs() -> None:
    built = Untrained((4, 4, 2), np.random.default_rng(0))
    stem = built.layer("stem", 3, 3, 1, 8, 8)
    other = built.layer("other", 3, 1, 1, 8, 8)
    network = QuantisedNetwork(
        tensors=tuple(built.tensors),
        nodes=tuple(built.steps),
        inputs=("image",),
        outputs=(stem.name, other.name),
        classes=(),
    )
    assert refused(lower(network)) == (
        "export: the outputs are stem output, other output; supported is a classifier's one"
    )
