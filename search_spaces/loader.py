"""Search spaces from YAML: those that ship, by name, or your own, by path."""

from __future__ import annotations

from pathlib import Path

from nas_engine.block_kinds import BLOCK_KINDS, INVERTED_RESIDUAL
from nas_engine.errors import UnknownNameError
from nas_engine.strict_yaml import Fields, parse_mapping, read_checked
from search_spaces.space import ChannelRange, SearchSpace, StageSpace

_DATA = Path(__file__).parent / "data"
_KEYS = (
    *(
        "name",
        "title",
        "source",
        "input_channels",
        "resolution",
        "classes",
        "stage_weights",
        "stem",
        "stages",
        "head",
        "bits",
    ),
    *("pooled_shortcut", "non_decreasing_channels", "max_layers", "max_stage_share"),
)


def space_names() -> tuple[str, ...]:
    """Return the names of the spaces that ship, sorted."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.yaml")))


def load_space(name_or_path: str) -> SearchSpace:
    """Return a space that ships (``mobilenet``) or one of your own (``my/space.yaml``).

    Raises:
        UnknownNameError: No such name; a path is recognised by its ``/`` or its ending ``.yaml``.
        FileFormatError: The file cannot be read as a space (names the key and what was expected).
    """
    if "/" in name_or_path or "\\" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        return _read(Path(name_or_path))
    name = name_or_path.lower().replace("_", "-")
    if name not in space_names():
        raise UnknownNameError(
            "space (a path to your own .yaml works too)", name_or_path, space_names()
        )
    return _read(_DATA / f"{name}.yaml")


def _read(path: Path) -> SearchSpace:
    return read_checked(path, None, lambda text: _parse(text, path))


def _parse(text: str, path: Path) -> SearchSpace:
    fields = Fields(parse_mapping(text, path), path).only(*_KEYS)
    stem = fields.take_fields("stem").only("kernel", "stride", "channels")
    head = fields.take_fields("head").only("channels")
    bits = fields.take_fields("bits").only(
        "weights", "activations", "stem_and_classifier", "tie_blocks"
    )
    sizes = fields.take_fields("resolution").only("default", "min", "max")
    with fields.located():
        return SearchSpace(
            name=fields.take_str("name"),
            title=fields.take_str("title"),
            source=fields.take_str("source"),
            input_channels=fields.take_int("input_channels", 3, low=1, high=64),
            resolution=sizes.take_int("default", low=8, high=1024),
            min_resolution=sizes.take_int("min", low=8, high=1024),
            max_resolution=sizes.take_int("max", low=8, high=1024),
            class_count=fields.take_int("classes", low=0, high=65536),
            stage_weights=fields.take_numbers("stage_weights", high=1e6),
            stem_kernel=stem.take_int("kernel", low=1, high=7),
            stem_stride=stem.take_int("stride", low=1, high=2),
            stem_channels=_channels(stem),
            stages=tuple(_stage(stage) for stage in fields.take_each("stages")),
            head_channels=_channels(head),
            end_bits=bits.take_int("stem_and_classifier"),
            weight_bits=tuple(bits.take_list("weights", of=int)),
            activation_bits=tuple(bits.take_list("activations", of=int)),
            tie_block_bits=bits.take_bool("tie_blocks", False),
            pooled_shortcut=fields.take_bool("pooled_shortcut", False),
            non_decreasing=fields.take_bool("non_decreasing_channels", True),
            max_layers=fields.take_int("max_layers", low=5, high=302),
            max_stage_share=fields.take_number("max_stage_share", 1.0),
        )


def _channels(fields: Fields) -> ChannelRange:
    part = fields.take_fields("channels").only("min", "max", "step")
    with part.located():
        return ChannelRange(
            minimum=part.take_int("min", high=8192),
            maximum=part.take_int("max", high=8192),
            step=part.take_int("step", 8, low=1, high=64),
        )


def _stage(fields: Fields) -> StageSpace:
    fields.only("kinds", "stride", "kernels", "channels", "expansions", "depth")
    depth = fields.take_fields("depth").only("min", "max")
    kinds = tuple(fields.take_list("kinds", [INVERTED_RESIDUAL], of=str))
    several = isinstance(fields.take("stride"), list)
    strides = fields.take_list("stride", of=int) if several else [fields.take_int("stride")]
    with fields.located():
        needed = any(BLOCK_KINDS[kind].has_bottleneck for kind in kinds if kind in BLOCK_KINDS)
        return StageSpace(
            kinds=kinds,
            strides=tuple(strides),
            kernels=tuple(fields.take_list("kernels", of=int)),
            channels=_channels(fields),
            expansions=fields.take_numbers("expansions", high=16)
            if needed or fields.has("expansions")
            else (),
            min_depth=depth.take_int("min", high=100),
            max_depth=depth.take_int("max", high=100),
        )
