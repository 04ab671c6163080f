"""Block kinds in files: what is read and written, what is refused, and files of version 0.1.0."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas_engine.architecture import (
    Architecture,
    Bits,
    Block,
    dump_architecture,
    parse_architecture,
    read_architecture,
)
from nas_engine.block_kinds import BLOCK_KINDS, INVERTED_RESIDUAL, PLACES
from nas_engine.encoding import space_frame
from nas_engine.errors import FileFormatError, InputError
from search_spaces import load_space
from tests.architectures import GOLDEN, W8A8, refusal, small
from tests.nested import change

RESIDUAL = Block(
    kind="residual",
    kernel=3,
    stride=2,
    channels=24,
    bits=((Bits(4, 6), Bits(2, 6), Bits(5, 7)), (Bits(3, 3), Bits(8, 2))),
)
SEPARABLE = Block(
    kind="depthwise-separable",
    kernel=5,
    stride=1,
    channels=24,
    bits=((Bits(4, 6), Bits(2, 3)),),
)


def of_kinds() -> Architecture:
    return small(blocks=(*small().blocks, RESIDUAL, SEPARABLE))


def test_every_row_of_the_table_is_whole() -> None:
    for name, kind in BLOCK_KINDS.items():
        assert kind.name == name
        assert len(kind.layers) == PLACES
        assert kind.layers[1] is not None
        last = kind.layers[2]
        assert last is not None
        assert last.outputs == "out"
        names = [layer.name for layer in kind.layers if layer is not None]
        assert len(set(names)) == len(names)
        assert kind.has_bottleneck == (kind.bottleneck == "mid")
        assert sum(layer.strided for layer in kind.layers[1:] if layer is not None) == 1
        assert not any(layer.reshaping for layer in kind.layers[1:] if layer is not None)


class TestArchitecture:
    def test_file(self) -> None:
        text = dump_architecture(of_kinds())
        assert parse_architecture(text) == of_kinds()
        assert (
            """\
- kind: residual
  kernel: 3
  stride: 2
  channels: 24
  bits:
  - [w4a6, w2a6, w5a7]
  - [w3a3, w8a2]
- kind: depthwise-separable
  kernel: 5
  stride: 1
  channels: 24
  bits:
  - [w4a6, w2a3]
"""
            in text
        )
        assert f"kind: {INVERTED_RESIDUAL}" not in text
        named = text.replace(
            "- kernel: 5\n  stride: 2", "- kind: inverted-residual\n  kernel: 5\n  stride: 2"
        )
        assert named != text
        assert parse_architecture(named) == of_kinds()

    def test_names_of_layers(self) -> None:
        assert of_kinds().layer_names() == (
            "stem",
            *(f"s1.b1.{part}" for part in ("expand", "depthwise", "project")),
            *(f"s2.b1.{part}" for part in ("conv1", "shortcut", "conv2")),
            *(f"s2.b2.{part}" for part in ("conv1", "conv2")),
            *(f"s3.b1.{part}" for part in ("depthwise", "project")),
            "head",
            "classifier",
        )

    @pytest.mark.parametrize(
        ("where", "value", "says"),
        [
            (("blocks", 1, "kind"), "residuals", "did you mean 'residual'?"),
            (("blocks", 1, "kind"), 3, "kind: is 3; expected a text"),
            (("blocks", 1, "bottleneck"), 48, "a block of kind 'residual' has none, leave it out"),
            (("blocks", 0, "bottleneck"), ..., "blocks[0]: bottleneck is 0, or is missing; add it"),
            (
                ("blocks", 1, "bits"),
                [["w4a6", "w2a6"], ["w3a3", "w8a2"]],
                "block 2: the first row of its bits has 2 widths; from 24 to 24 channels with "
                "stride 2 a 'residual' has the layers conv1, shortcut, conv2",
            ),
            (("blocks", 1, "stride"), 1, "has the layers conv1, conv2"),
            (
                ("blocks", 1, "bits"),
                [["w4a6", "w2a5", "w5a7"]],
                "conv1 and shortcut read the same input at a6 and a5; expected equal",
            ),
            (
                ("blocks", 1, "bits"),
                [["w4a6", "w2a6", "w5a7"], ["w4a6", "w2a6", "w5a7"]],
                "expected at least one row of two (first convolution, second convolution)",
            ),
            (
                ("blocks", 1, "bits"),
                [["w4a6"]],
                "expected at least one row of two or three "
                "(first convolution, shortcut, second convolution)",
            ),
            (
                ("blocks", 2, "bits"),
                [["w4a6", "w2a6", "w5a7"]],
                "expected at least one row of two (depth-wise, project)",
            ),
        ],
    )
    def test_refusals(self, where: tuple[Any, ...], value: object, says: str) -> None:
        data = yaml.safe_load(dump_architecture(of_kinds()))
        assert says in refusal(yaml.safe_dump(change(data, where, value)))

    def test_a_kind_that_is_none(self) -> None:
        with pytest.raises(InputError, match="unknown block kind: 'dense'"):
            replace(SEPARABLE, kind="dense")

    def test_shortcut_does_not_depend_on_the_resolution(self) -> None:
        """A stride on a 1x1 map changes nothing, but the layer is there."""
        assert of_kinds().at_resolution(2).layer_names() == of_kinds().layer_names()

    def test_file_of_0_1_0_is_read_and_written_byte_for_byte(self) -> None:
        path = GOLDEN / "architecture-0.1.0.yaml"
        network = read_architecture(path)
        assert {block.kind for block in network.blocks} == {INVERTED_RESIDUAL}
        assert dump_architecture(network).encode() == path.read_bytes()


class TestSpace:
    def test_file_of_0_1_0_is_the_space_that_ships(self) -> None:
        found = load_space(str(GOLDEN / "space-0.1.0.yaml"))
        shipped = load_space("mobilenet-32")
        assert replace(found, name=shipped.name, source=shipped.source) == shipped
        assert [stage.strides for stage in found.stages] == [(2,), (1,), (2,), (1,), (2,)]
        assert {stage.kinds for stage in found.stages} == {(INVERTED_RESIDUAL,)}

    def space(self, tmp_path: Path, where: tuple[Any, ...], value: object) -> Path:
        data = yaml.safe_load((GOLDEN / "space-0.1.0.yaml").read_text(encoding="utf-8"))
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(change(data, where, value)), encoding="utf-8")
        return path

    def test_kinds_and_strides(self, tmp_path: Path) -> None:
        kinds = ["residual", "inverted-residual"]
        path = self.space(tmp_path, ("stages", 0, "kinds"), kinds)
        assert load_space(str(path)).stages[0].kinds == tuple(kinds)
        path = self.space(tmp_path, ("stages", 0, "stride"), [1, 2])
        assert load_space(str(path)).stages[0].strides == (1, 2)

    @pytest.mark.parametrize(
        ("key", "value", "says"),
        [
            ("kinds", [], "stages[0]: kinds are []; expected some of"),
            ("kinds", "residual", "stages[0].kinds: is 'residual'; expected a list of texts"),
            ("kinds", ["residul"], "did you mean 'residual'?"),
            ("kinds", ["residual"], "expected none for residual units, leave them out"),
            ("kinds", ["residual", "residual"], "each once"),
            ("stride", [], "stages[0]: stride is []; expected 1, 2 or [1, 2]"),
            ("stride", [2, 1], "stride is [2, 1]; expected 1, 2 or [1, 2]"),
            ("stride", [1, 3], "stride is [1, 3]; expected 1, 2 or [1, 2]"),
            ("stride", 3, "stride is 3; expected 1, 2 or [1, 2]"),
            ("stride", 1, "stage_weights has 4 values; the strides make 3 stages, give 3"),
        ],
    )
    def test_refusals(self, key: str, value: object, says: str, tmp_path: Path) -> None:
        path = self.space(tmp_path, ("stages", 0, key), value)
        with pytest.raises(FileFormatError) as caught:
            load_space(str(path))
        assert says in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_bits_of_a_block_need_a_row() -> None:
    with pytest.raises(InputError, match="at least one row of two or three"):
        replace(RESIDUAL, bits=())
    with pytest.raises(InputError, match="read the same input"):
        replace(RESIDUAL, bits=((W8A8, Bits(8, 4), W8A8),))


class TestWithoutHead:
    """The last block is pooled, as in ResNets."""

    def test_file(self) -> None:
        network = replace(of_kinds(), head=None)
        text = dump_architecture(network)
        assert "head: none\nclassifier: {classes: 2" in text
        assert parse_architecture(text) == network
        assert network.layer_names() == tuple(
            name for name in of_kinds().layer_names() if name != "head"
        )
        assert len(network.layer_bits()) == len(network.layer_names())
        assert (network.feature_channels, of_kinds().feature_channels) == (24, 64)

    @pytest.mark.parametrize(
        ("key", "value", "says"),
        [
            ("head", ..., "head: is missing; add it"),
            ("head", None, "head: holds nothing (is the file cut off?); write 'none'"),
            ("classifier", "none", "has neither head nor classifier; add one"),
        ],
    )
    def test_refusals(self, key: str, value: object, says: str) -> None:
        data = yaml.safe_load(dump_architecture(replace(of_kinds(), head=None)))
        assert says in refusal(yaml.safe_dump(change(data, (key,), value)))

    def test_space(self, tmp_path: Path) -> None:
        data = yaml.safe_load((GOLDEN / "space-0.1.0.yaml").read_text(encoding="utf-8"))
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(data | {"head": "none"}), encoding="utf-8")
        space = load_space(str(path))
        assert (space.head_channels, space.ends) == (None, 1)
        with pytest.raises(InputError, match=r"has no head; give --classes 1 or more"):
            space_frame(space, 32, 0)

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"class_count": 0}, "head is none and classes is 0; expected one of the two"),
            ({"activation_bits": (2, 4)}, "expected 8 among activations [2, 4]"),
        ],
    )
    def test_refused_spaces(self, changes: dict[str, Any], says: str) -> None:
        with pytest.raises(InputError) as caught:
            replace(load_space("residual-32"), head_channels=None, **changes)
        assert says in str(caught.value)
