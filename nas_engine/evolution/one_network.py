"""Space of one network: an architecture file in the place of a search space."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nas_engine.architecture import FORMAT, Architecture, read_architecture
from nas_engine.block_kinds import PLACES
from nas_engine.errors import FileFormatError, PathError
from nas_engine.reading import read_regular_text
from nas_engine.scoring.qe_score import default_stage_weights
from nas_engine.strict_yaml import MAX_FILE_BYTES
from search_spaces import ChannelRange, SearchSpace, StageSpace, load_space
from search_spaces.space import BIT_RANGE

WIDTHS = tuple(range(BIT_RANGE[0], BIT_RANGE[1] + 1))
"""Widths that its convolutions may be given anew."""


def open_space(name_or_path: str) -> tuple[SearchSpace, Architecture | None]:
    """Return a space, and the network where the file is that of one.

    Args:
        name_or_path: A space that ships, or the path of a space or of an architecture.

    Raises:
        UnknownNameError: No such name.
        FileFormatError: The file cannot be read as a space or as a network.
    """
    if not is_network(name_or_path):
        return load_space(name_or_path), None
    network = read_architecture(name_or_path)
    return space_of(network, name_or_path), network


def is_network(path: str | os.PathLike[str]) -> bool:
    """Return whether there is an architecture file of this path."""
    try:
        text = read_regular_text(path, MAX_FILE_BYTES) if os.path.isfile(path) else ""
    except PathError:
        return False  # whoever reads it says why
    kind = FORMAT.rsplit("/", 1)[0]
    return text.lstrip()[:1] in ("[", "(") or bool(re.search(rf"\b{kind}/|best_structures", text))


def space_of(network: Architecture, path: str) -> SearchSpace:
    """Return the space that holds one network, with any widths.

    Args:
        network: The network.
        path: Where it comes from.

    Raises:
        FileFormatError: Stem and classifier have several widths.
    """
    ends = {network.stem.bits, *([network.classifier.bits] if network.classifier else [])}
    (end, *others) = {width for bits in ends for width in (bits.w, bits.a)}
    if others:
        given = " and ".join(sorted(map(str, ends)))
        raise FileFormatError(
            path, f"stem and classifier have {given}; expected one width, such as w8a8"
        )
    stages = tuple(
        StageSpace(
            kinds=(block.kind,),
            strides=(block.stride,),
            kernels=(block.kernel,),
            channels=_exactly(block.channels),
            expansions=(block.bottleneck / block.channels,) if block.bottleneck else (),
            min_depth=block.depth,
            max_depth=block.depth,
        )
        for block in network.blocks
    )
    return SearchSpace(
        name=Path(path).stem,
        title="One network",
        source=path,
        input_channels=network.input_channels,
        resolution=network.resolution,
        min_resolution=network.resolution,
        max_resolution=network.resolution,
        class_count=network.classifier.class_count if network.classifier else 0,
        stage_weights=default_stage_weights(network),
        stem_kernel=network.stem.kernel,
        stem_strides=(network.stem.stride,),
        stem_channels=_exactly(network.stem.channels),
        stages=stages,
        head_channels=None if network.head is None else _exactly(network.head.channels),
        end_bits=end,
        weight_bits=WIDTHS,
        activation_bits=WIDTHS,
        tie_block_bits=False,
        pooled_shortcut=network.pooled_shortcut,
        non_decreasing=False,
        max_layers=1
        + (network.head is not None)
        + PLACES * sum(block.depth for block in network.blocks),
        max_stage_share=1.0,
    )


def _exactly(channels: int) -> ChannelRange:
    return ChannelRange(minimum=channels, maximum=channels, step=1)
