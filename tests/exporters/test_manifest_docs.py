"""docs/manifest.md: its snippets read real manifests, its example has the keys of the schema."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from nas_engine.exporters.exporter import ExportSubject
from nas_engine.exporters.manifest import ManifestExporter, manifest
from nas_engine.exporters.packing import pack_layer
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerConvolution
from nas_engine.integer.store import save
from nas_engine.testing.networks import Untrained, random_images
from tests.exporters.manifests import ROOT, SCHEMA, SEED, Json, side_by_side, subject_of, validator


@pytest.fixture(scope="module")
def subject() -> ExportSubject:
    return subject_of(SEED)


class TestDocs:
    PAGE = ROOT / "docs" / "manifest.md"

    def test_the_reader_rebuilds_the_real_weights(
        self, tmp_path: Path, subject: ExportSubject
    ) -> None:
        (tmp_path / "export").mkdir()
        (tmp_path / "export" / "quant.json").write_bytes(
            ManifestExporter().files(subject)["quant.json"]
        )
        save(tmp_path / "integer", subject.model, random_images(subject.model, 1))
        names: Json = {}
        exec(snippets(self.PAGE)[0].replace('Path("run")', f"Path({str(tmp_path)!r})"), names)
        convolutions = [
            step for step in subject.model.nodes if isinstance(step, IntegerConvolution)
        ]
        assert list(names["real"]) == [step.name for step in convolutions]
        for step in convolutions:
            expected = step.weight_scale.astype(float)[:, None, None, None] * (
                step.weights.astype(int) << step.weight_shift
            )
            np.testing.assert_array_equal(names["real"][step.name], expected)

    @pytest.mark.parametrize(
        ("kind", "kernel", "taps", "bits", "layout"),
        [
            ("conv", 1, 16, 8, "words-w8"),
            ("conv", 1, 24, 4, "words-w4"),
            ("conv", 1, 10, 5, "stream-pairs"),
            ("conv", 3, 3, 3, "stream-pairs"),
            ("depthwise", 3, 7, 6, "stream"),
        ],
    )
    @pytest.mark.parametrize("channels", [4, 6])
    def test_the_unpacker_undoes_every_layout(
        self, kind: str, kernel: int, taps: int, bits: int, layout: str, channels: int
    ) -> None:
        built = Untrained((3, 3, taps), np.random.default_rng(bits))
        built.layer(
            "layer", taps if kind == "depthwise" else channels, kernel, 1, bits, 8, kind=kind
        )
        built.pool("pool", 3, 1)
        built.layer("classifier", 3, 1, 1, 7, 8, signed=True)  # an odd channel stands alone
        model = lower(built.network())
        names: Json = {}
        exec(snippets(self.PAGE)[1], names)
        made = manifest(model, side_by_side(model), device=None)
        assert made["layers"][0]["storage"]["layout"] == layout
        for step, layer in zip(model.nodes, made["layers"], strict=True):
            if isinstance(step, IntegerConvolution):
                words = pack_layer(
                    step, model.tensor(step.input), model.tensor(step.output)
                ).weights.tolist()
                found = names["unpack"](
                    words, layer["storage"]["layout"], layer["weight_bits"], layer["weight_shape"]
                )
                np.testing.assert_array_equal(found, step.weights)

    def test_the_example_has_the_keys_of_the_schema(self) -> None:
        text = re.findall(r"```jsonc\n(.*?)```", self.PAGE.read_text(encoding="utf-8"), re.S)[0]
        example = json.loads(re.sub(r"//.*", "", text))
        others = dict.fromkeys(
            ("tflite", "tflite-int4", "onnx-integer", "onnx-qcdq"), example["formats"]["c"]
        )
        example["formats"] |= others
        example["sha256"] = "0" * 64
        example["tensors"] *= 2
        validator().validate(example)

    def test_every_layout_is_explained(self) -> None:
        layouts = SCHEMA["$defs"]["convolution"]["properties"]["storage"]["properties"]["layout"][
            "enum"
        ]
        assert (
            re.findall(r"^\| `([\w-]+)` \|", self.PAGE.read_text(encoding="utf-8"), re.M)[1:]
            == layouts
        )


def snippets(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
