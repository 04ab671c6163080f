"""quant.json: it says what the model says, its schema lets nothing else pass, and a file that was
touched is refused in one line.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import nas_engine
from nas_engine.costs.plan import MemoryPlan, plan_graph
from nas_engine.errors import FileFormatError, PathError
from nas_engine.exporters.exporter import ExportError, ExportSubject
from nas_engine.exporters.manifest import (
    ManifestExporter,
    checksum,
    manifest,
    read_manifest,
    shortest_float32,
)
from nas_engine.exporters.packing import pack_layer
from nas_engine.exporters.sizes import packed_bytes
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerConvolution
from nas_engine.network.graph import value_range
from nas_engine.testing.networks import RESIDUAL, Untrained, random_model
from tests.exporters.manifests import SCHEMA, SEED, Json, side_by_side, subject_of, validator


@pytest.fixture(scope="module")
def subject() -> ExportSubject:
    return subject_of(SEED)


@pytest.fixture
def document(subject: ExportSubject) -> Json:
    return copy.deepcopy(dict(subject.manifest))


@pytest.fixture(scope="module")
def content(subject: ExportSubject) -> bytes:
    return ManifestExporter().files(subject)["quant.json"]


class TestContent:
    @pytest.mark.parametrize("seed", [*range(6), *RESIDUAL])
    def test_tensors_are_the_models(self, seed: int) -> None:
        model = random_model(seed)
        plan = side_by_side(model)
        made = manifest(model, plan, device=None)
        assert len(made["tensors"]) == len(model.tensors)
        for tensor, entry, place in zip(model.tensors, made["tensors"], plan.tensors, strict=True):
            assert (entry["name"], entry["shape"], entry["bits"]) == (
                tensor.name,
                list(tensor.shape),
                tensor.bits,
            )
            assert (entry["zero_point"], entry["low"], entry["high"]) == value_range(
                tensor.bits, tensor.signed
            )
            assert entry["signed"] is tensor.signed
            assert float(np.float32(entry["scale"])) == tensor.scale
            assert entry["arena"] == {
                "offset": place.offset,
                "size": place.size,
                "rows": tensor.height,
            }
        assert made["totals"]["arena_bytes"] == plan.arena_bytes
        assert made["device"] is None

    @pytest.mark.parametrize("seed", [*range(6), *RESIDUAL])
    def test_layers_are_the_models(self, seed: int) -> None:
        model = random_model(seed)
        made = manifest(model, side_by_side(model), device=None)
        for step, layer in zip(model.nodes, made["layers"], strict=True):
            for key in ("name", "input", "output", "stride"):
                assert layer[key] == getattr(step, key)
            assert layer["kernel"] == step.kernel_height == step.kernel_width
            assert layer["padding"] == list(step.padding)
            assert layer["input_bits"] == model.tensor(step.input).bits
            assert layer["output_bits"] == model.tensor(step.output).bits
            if not isinstance(step, IntegerConvolution):
                assert layer["kind"] == "average_pool"
                assert layer["storage"] == {
                    "function": "nas_average_pool",
                    "flash": {"record": 52, "total": 52},
                }
                continue
            assert (layer["kind"], layer["weight_bits"], layer["weight_shift"]) == (
                step.kind,
                step.weight_bits,
                8 - step.weight_bits,
            )
            assert layer["weight_shape"] == list(step.weights.shape)
            assert layer["weights_crc32"] == zlib.crc32(step.weights.tobytes())
            np.testing.assert_array_equal(
                np.array(layer["weight_scale"]).astype(np.float32), step.weight_scale
            )
            assert layer["weight_zero_point"] == [0] * len(step.weights)
            assert layer["bias"] == step.bias.tolist()
            assert layer["multiplier"] == step.requantizer.multiplier.tolist()
            assert layer["shift"] == step.requantizer.shift.tolist()
            bound = step.bounds.accumulator
            assert layer["accumulator"] == {
                "bound": bound,
                "bits": len(f"{bound:b}".lstrip("0")) + 1,
                "shifted_bound": step.bounds.shifted,
            }

    def test_an_addition_is_the_models(self, subject: ExportSubject) -> None:
        for step, layer in zip(subject.model.nodes, subject.manifest["layers"], strict=True):
            if isinstance(step, IntegerConvolution) and step.addition:
                entry = layer["addition"]
                assert entry["shortcut"] == step.shortcut
                assert "scale" not in entry  # the output's
                for part in ("first", "second", "out"):
                    assert (entry[part]["multiplier"], entry[part]["shift"]) == getattr(
                        step.addition, part
                    )
                assert layer["storage"]["flash"]["addition"] == 24
                return
        pytest.fail("the network has no addition")

    def test_an_operand_in_a_scale_of_its_own_says_so(self) -> None:
        built = Untrained((4, 4, 3), np.random.default_rng(0))
        built.layer("stem", 6, 3, 1, 8, 8)
        built.layer("conv", 6, 3, 1, 5, 8, shortcut=built.tensors[-1], own=0.25)
        built.pool("pool", 4, 1)
        built.layer("classifier", 2, 1, 1, 8, 8, signed=True)
        model = lower(built.network())
        document = manifest(model, plan_graph(model), device=None)
        Draft202012Validator(SCHEMA).validate(document)
        scale = np.float32(0.25 * built.tensors[2].scale)
        assert np.float32(document["layers"][1]["addition"]["scale"]) == scale

    @pytest.mark.parametrize("seed", [*range(6), *RESIDUAL])
    def test_flash_is_what_the_arrays_take(self, seed: int) -> None:
        model = random_model(seed)
        made = manifest(model, side_by_side(model), device=None)
        for step, layer in zip(model.nodes, made["layers"], strict=True):
            if isinstance(step, IntegerConvolution):
                packed = pack_layer(step, model.tensor(step.input), model.tensor(step.output))
                storage, flash = layer["storage"], layer["storage"]["flash"]
                assert (
                    flash["weights"]
                    == packed.weights.nbytes
                    == 4 * math.ceil(step.weights.size * step.weight_bits / 32)
                )
                assert (
                    flash["constants"]
                    == packed.constants.nbytes
                    == 4 * math.ceil(9 * len(step.bias) / 4)
                )
                assert flash["total"] == flash["weights"] + flash["constants"] + 52 + (
                    24 if step.addition else 0
                )
                assert storage["device"] == ("native" if packed.kernel.native else "storage-only")
                assert (storage["layout"], storage["function"]) == (
                    packed.kernel.layout,
                    packed.kernel.name,
                )
                assert storage["fast_rounding"] is packed.fast_rounding
                assert storage["packed_crc32"] == zlib.crc32(packed.weights.astype("<u4").tobytes())
        assert made["totals"]["packed_bytes"] == packed_bytes(model)

    def test_totals(self, subject: ExportSubject) -> None:
        model, totals = subject.model, subject.manifest["totals"]
        convolutions = [step for step in model.nodes if isinstance(step, IntegerConvolution)]
        macs = [
            step.weights.size * math.prod(model.tensor(step.output).shape[:2])
            for step in convolutions
        ]
        counts = [step.weights.size for step in convolutions]
        assert totals["weights"] == sum(counts)
        assert totals["macs"] == sum(macs)
        assert totals["bitops"] == sum(
            mac * step.weight_bits * model.tensor(step.input).bits
            for mac, step in zip(macs, convolutions, strict=True)
        )
        assert totals["mean_weight_bits"] == pytest.approx(
            np.average([step.weight_bits for step in convolutions], weights=counts)
        )

    def test_network(self, subject: ExportSubject) -> None:
        model, made = subject.model, subject.manifest
        assert made["format"] == "nas-search/quant/1"
        assert made["generator"] == {"name": "nas-search", "version": nas_engine.__version__}
        assert made["device"] == "stm32f746"
        assert made["network"] == {
            "image": model.image,
            "image_offset": -128,
            "logits": model.logits,
            "classes": list(model.classes),
            "provenance": {"seed": "1"},
        }

    @pytest.mark.parametrize("seed", [*range(6), *RESIDUAL])
    def test_int4_is_exact_only_without_narrow_weights(self, seed: int) -> None:
        model = random_model(seed)
        formats = manifest(model, side_by_side(model), device=None)["formats"]
        narrow = any(
            isinstance(step, IntegerConvolution) and step.weight_bits <= 4 for step in model.nodes
        )
        assert formats["tflite-int4"]["exact"] is not narrow
        assert [
            name for name, entry in formats.items() if entry["exact"] and name != "tflite-int4"
        ] == ["c", "tflite", "onnx-integer"]
        assert formats["c"]["stores_widths"] is True

    def test_containers(self, subject: ExportSubject) -> None:
        tensors = {entry["name"]: entry for entry in subject.manifest["tensors"]}
        for entry in tensors.values():
            levels_type = "INT8" if entry["signed"] else "UINT8"
            stored_type = "INT8" if entry["name"] == subject.model.logits else "UINT8"
            assert entry["containers"] == {
                "tflite": "INT8",
                "onnx-integer": stored_type,
                "onnx-qcdq": levels_type,
            }
        for layer in subject.manifest["layers"]:
            if layer["kind"] != "average_pool":
                narrow = "INT4" if layer["weight_bits"] <= 4 else "INT8"
                assert layer["containers"] == {
                    "tflite": "INT8",
                    "tflite-int4": narrow,
                    "onnx-integer": narrow,
                    "onnx-qcdq": "FLOAT",
                }

    def test_a_plan_of_another_network(self, subject: ExportSubject) -> None:
        plan = MemoryPlan(arena_bytes=4, steps=(), tensors=())
        with pytest.raises(
            ExportError,
            match=(
                r"^manifest: the memory plan has no tensor 'image'; plan the memory of this "
                r"network$"
            ),
        ):
            manifest(subject.model, plan, device=None)


class TestScales:
    @given(st.floats(width=32, min_value=1.401298464324817e-45, allow_infinity=False))
    def test_read_back_as_the_same_float32(self, value: float) -> None:
        written = json.dumps(shortest_float32(value))
        assert float(np.float32(json.loads(written))) == value
        assert float(written) == float(str(np.float32(value)))

    def test_are_short(self) -> None:
        assert json.dumps(shortest_float32(float(np.float32(0.1)))) == "0.1"


class TestSchema:
    def test_is_a_schema(self) -> None:
        Draft202012Validator.check_schema(SCHEMA)

    def test_the_network_has_every_kind_of_layer(self, document: Json) -> None:
        kinds = [layer["kind"] for layer in document["layers"]]
        assert {"conv", "depthwise", "average_pool"} == set(kinds)
        assert kinds[0] == "conv"
        assert any(layer.get("addition") for layer in document["layers"])

    def test_is_closed_and_described(self) -> None:
        for rule in rules(SCHEMA):
            if rule.get("type") == "object":
                assert rule["additionalProperties"] is False or "properties" not in rule
                optional = ["scale"] if rule is SCHEMA["$defs"]["addition"] else []
                keys = [key for key in rule.get("properties", ()) if key not in optional]
                assert keys == rule.get("required", [])
            for key, part in rule.get("properties", {}).items():
                assert part.keys() & {"description", "$ref"}, key
                if "$ref" in part:
                    assert SCHEMA["$defs"][part["$ref"].split("/")[-1]]["description"], key

    @pytest.mark.parametrize("seed", range(12))
    def test_accepts(self, seed: int) -> None:
        model = random_model(seed)
        made = json.loads(json.dumps(manifest(model, side_by_side(model), device=None)))
        validator().validate(made)

    @pytest.fixture
    def short(self, document: Json) -> Json:
        """Return a manifest with two tensors and a layer of each kind; to the schema it is as good
        as whole.
        """
        sums = [layer for layer in document["layers"] if layer.get("addition")]
        kinds = {layer["kind"]: layer for layer in document["layers"]}
        return {
            **document,
            "tensors": document["tensors"][:2],
            "layers": [*kinds.values(), sums[0]],
        }

    def test_no_key_may_lack_and_none_be_new(self, short: Json) -> None:
        document, check, provenance = short, validator(), short["network"]["provenance"]
        for part in [part for part in objects(document) if part is not provenance]:
            for key in list(part):
                kept = dict(part)
                del part[key]
                assert not check.is_valid(document)
                part.clear()
                part.update(kept)
            part["surplus"] = 1
            assert not check.is_valid(document)
            del part["surplus"]
        assert check.is_valid(document)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("format", "nas-search/quant/2"),
            ("tensors.0.bits", 9),
            ("tensors.0.bits", 1),
            ("tensors.0.scale", 0),
            ("tensors.0.zero_point", 5),
            ("tensors.0.shape", [8, 8]),
            ("tensors.0.arena.offset", 6),
            ("tensors.0.stored.stream", "MSB first"),
            ("layers.0.kind", "dense"),
            ("layers.0.weight_bits", 16),
            ("layers.0.multiplier.0", 2**29),
            ("layers.0.shift.0", 1.5),
            ("layers.0.bias.0", 2**31),
            ("layers.0.weight_zero_point.0", 1),
            ("layers.0.storage.layout", "rows"),
            ("layers.0.storage.flash.record", 60),
            ("layers.0.stride", 0),
            ("layers.6.stride", 0),
            ("layers.6.kernel", "3"),
            ("layers.0.addition", 3),
            ("layers.0.addition", {}),
            ("totals.arena_bytes", -4),
            ("sha256", "0"),
            ("formats.c.exact", "yes"),
            ("network.classes", []),
            ("network.provenance.seed", 1),
        ],
    )
    def test_refuses(self, document: Json, path: str, value: object) -> None:
        put(document, path, value)
        assert not validator().is_valid(document)


class TestExporter:
    def test_files(self, subject: ExportSubject, content: bytes) -> None:
        files = ManifestExporter().files(subject)
        assert list(files) == ["quant.json", "memory_plan.json", "quant.schema.json"]
        assert json.loads(content) == subject.manifest
        assert json.loads(files["memory_plan.json"]) == json.loads(
            json.dumps(subject.plan.as_json())
        )
        assert json.loads(files["quant.schema.json"]) == SCHEMA
        assert ManifestExporter().missing() is None
        assert ManifestExporter().name == "manifest"

    def test_same_bytes_every_time(self, content: bytes) -> None:
        assert ManifestExporter().files(subject_of(SEED))["quant.json"] == content

    def test_a_channel_list_stands_on_one_line(
        self, subject: ExportSubject, content: bytes
    ) -> None:
        lines = [
            line
            for line in content.decode().splitlines()
            if line.strip().startswith('"multiplier": [')
        ]
        assert len(lines) == sum(
            isinstance(step, IntegerConvolution) for step in subject.model.nodes
        )
        assert all(line.endswith("],") for line in lines)

    def test_the_checksum_is_of_sorted_json(self, document: Json) -> None:
        digest = document.pop("sha256")
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert digest == checksum(document) == hashlib.sha256(text.encode()).hexdigest()


class TestReading:
    @pytest.mark.parametrize("seed", [*range(6), *RESIDUAL])
    def test_round_trip(self, tmp_path: Path, seed: int) -> None:
        subject = subject_of(seed)
        (tmp_path / "quant.json").write_bytes(ManifestExporter().files(subject)["quant.json"])
        assert read_manifest(tmp_path / "quant.json") == subject.manifest

    @pytest.mark.parametrize("seed", [*range(6), *RESIDUAL])
    def test_with_the_plan_that_is_exported(self, tmp_path: Path, seed: int) -> None:
        model = random_model(seed)
        made = manifest(model, plan_graph(model), device=None)
        assert made["totals"]["arena_bytes"] == plan_graph(model).arena_bytes
        assert read_manifest(forged(tmp_path, made)) == made

    def test_every_cut_is_seen(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "quant.json"
        for end in [*range(0, len(content) - 2, 199), len(content) - 2]:
            path.write_bytes(content[:end])
            refused(
                path,
                r"is not whole JSON \(cut off or damaged\?\); export the network again, or put a "
                r"whole copy back",
            )

    def test_every_change_is_seen(self, tmp_path: Path, content: bytes, document: Json) -> None:
        path = tmp_path / "quant.json"
        rng = np.random.default_rng(0)
        seen = 0
        for place in rng.integers(0, len(content), 300).tolist():
            changed = bytearray(content)
            changed[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(changed))
            if (
                outcome(path) != document
            ):  # only where a blank between two keys became another blank may it be the same
                refused(path, ": ")
                seen += 1
        assert seen > 250

    @pytest.mark.parametrize(
        ("raw", "problem"),
        [
            (b"[]", r"format: is None; expected 'nas-search/quant/1' \(another version\?"),
            (
                b'{"format": "nas-search/quant/2"}',
                r"format: is 'nas-search/quant/2'; expected 'nas-search/quant/1'",
            ),
            (
                b'{"format": "nas-search/quant/1"}',
                r"sha256: is not that of the other keys \(was the file changed by hand\?\)",
            ),
            (b'{"format": 1, "format": 1}', "is not whole JSON"),
            (b'{"format": NaN}', "is not whole JSON"),
            (b'{"format": "\\ud800"}', "is not whole JSON"),
            (b"\xff", "is not whole JSON"),
            (b"[" * 100_000, "is not whole JSON"),
        ],
    )
    def test_what_is_no_manifest(self, tmp_path: Path, raw: bytes, problem: str) -> None:
        (tmp_path / "quant.json").write_bytes(raw)
        refused(tmp_path / "quant.json", problem)

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        refused(
            tmp_path / "quant.json",
            r"cannot be read \(No such file or directory\); give the quant.json that an export "
            r"wrote",
        )
        refused(tmp_path, "is a folder; expected a regular file")


def rules(rule: Json) -> Iterator[Json]:
    """Yield a schema and every schema inside it."""
    yield rule
    inside = [
        *rule.get("properties", {}).values(),
        *rule.get("$defs", {}).values(),
        *rule.get("oneOf", ()),
    ]
    for part in [*inside, rule.get("items"), rule.get("additionalProperties")]:
        if isinstance(part, dict):
            yield from rules(part)


def objects(value: Any) -> Iterator[Json]:
    """Yield every object in a document."""
    if isinstance(value, dict):
        yield value
    for part in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from objects(part)


def find(document: Json, path: str) -> tuple[Any, Any]:
    """Return the owner and the key of a dotted path."""
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    owner: Any = document
    for part in parents:
        owner = owner[part]
    return owner, last


def put(document: Json, path: str, value: object) -> None:
    owner, key = find(document, path)
    owner[key] = value


def forged(folder: Path, document: Json) -> Path:
    """Write a changed manifest with the checksum it should have."""
    path = folder / "quant.json"
    path.write_text(
        json.dumps({**document, "sha256": checksum(document)}, ensure_ascii=False), encoding="utf-8"
    )
    return path


def outcome(path: Path) -> Json | None:
    try:
        return read_manifest(path)
    except FileFormatError:
        return None


def refused(path: Path, problem: str) -> None:
    with pytest.raises(PathError, match=problem) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
