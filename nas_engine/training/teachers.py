"""Teachers: a network of any origin behind one interface, and the files it may come from."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas_engine.errors import FileFormatError, InputError, PathError, shortened
from nas_engine.interrupts import interruptible
from nas_engine.models.cifar_resnet import DEPTHS, CifarResNet, load_cifar_resnet, to_unit_range
from nas_engine.models.graph_network import GraphNetwork
from nas_engine.reading import LARGE_FILE, is_out_of_memory, parsing, read_regular
from nas_engine.training.networks import network_from, tensors_from

EXPECTED = (
    f"the state dict of a CIFAR ResNet ({', '.join(map(str, DEPTHS))}), or a network saved by "
    "nas-search"
)
"""Accepted contents of a teacher file."""

CODE_OPTION = "--teacher-code (in Python teacher_code=True)"
"""Option that allows a teacher to be a program, as named in messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A network that only answers: in evaluation mode, without gradients.

    All methods take images as ``scale_images`` gives them, ``(n, c, h, w)`` of float32 in ``[-1,
    1)``. A TorchScript module gets them in ``[0, 1]`` (``u / 255``), so any other normalisation
    must be part of it.
    """

    module: nn.Module = field(repr=False)
    """A ``CifarResNet``, a ``GraphNetwork``, or a TorchScript module that returns logits."""
    class_count: int
    """Number of logits."""
    description: str
    """Kind and origin of the teacher, for records and messages."""

    def __post_init__(self) -> None:
        self.module.eval()
        for (
            parameter
        ) in self.module.parameters():  # a TorchScript module has no requires_grad_ of its own
            parameter.requires_grad_(False)

    @property
    def feature_channels(self) -> int | None:
        """Length of the pooled vector; ``None`` if the module does not tell it."""
        if isinstance(self.module, CifarResNet):
            return self.module.linear.in_features
        return (
            self.module.architecture.feature_channels
            if isinstance(self.module, GraphNetwork)
            else None
        )

    @torch.no_grad()
    def outputs(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits ``(n, classes)`` and pooled features ``(n, feature_channels, 1, 1)``.

        The features are ``None`` where the module has none.
        """
        if isinstance(self.module, CifarResNet):
            features = self.module.features(x)
            return self.module.classify(features).float(), features.float()
        if isinstance(self.module, GraphNetwork):
            features = self.module.features(x.to(self.module.stem.weight.dtype))
            return self.module.classify(features).float(), features.float()
        return _called(self.module, to_unit_range(x)), None

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits ``(n, classes)``."""
        return self.outputs(x)[0]

    def features(self, x: Tensor) -> Tensor | None:
        """Return the pooled vectors, ``(n, feature_channels, 1, 1)``.

        ``None`` for a TorchScript module.
        """
        return self.outputs(x)[1]

    def to(self, device: torch.device | str) -> Teacher:
        """Move the network, in place, and return it."""
        self.module.to(device)
        return self


def teacher_from(network: CifarResNet | GraphNetwork, description: str) -> Teacher:
    """Return a network as a teacher; it is put into evaluation mode, in place."""
    class_count = (
        network.class_count
        if isinstance(network, CifarResNet)
        else network.classifier.weight.shape[0]
    )
    return Teacher(module=network, class_count=class_count, description=description)


def load_teacher(path: Path, *, class_count: int, code: bool = False) -> Teacher:
    """Return the teacher of a file, on the CPU.

    Args:
        path: The state dict of a CIFAR ResNet, alone or under the key ``state_dict``; what
            ``save_network`` wrote; or a TorchScript file (takes ``(n, c, h, w)`` of float32 in
            ``[0, 1]``, returns logits).
        class_count: Number of classes of the data. For TorchScript only ``check_teacher`` can
            compare them.
        code: Whether TorchScript is taken. It is a program: it can write files, and it need not
            end.

    Raises:
        UnreadableError: Missing, or the operating system refuses.
        FileFormatError: Damaged, or none of the three; TorchScript without ``code``; a pickle with
            code, which is never run.
        PathError: Another number of classes.
    """
    content = read_regular(path, LARGE_FILE, f"expected {EXPECTED}")
    if _is_torchscript(content):
        if not code:
            came = (
                "is a TorchScript file, which is a program: as a teacher it runs on this machine "
                "with your rights"
            )
            raise FileFormatError(
                path, f"{came}; expected {EXPECTED}; or give {CODE_OPTION} if you trust who made it"
            )
        return Teacher(
            module=_torchscript(content, path),
            class_count=class_count,
            description=f"TorchScript ({path.name})",
        )
    data = tensors_from(content, path, EXPECTED)
    if isinstance(data, Mapping) and "format" in data:
        network: CifarResNet | GraphNetwork = network_from(data, path)
        name = "network"
    else:
        network = _resnet_from(data, path)
        name = f"ResNet-{network.depth}"
    teacher = teacher_from(network, f"{name} ({path.name})")
    if teacher.class_count != class_count:
        raise PathError(path, _other_classes(teacher.class_count, class_count))
    return teacher


def _other_classes(found: int, expected: int) -> str:
    return (
        f"the teacher has {found} classes, the data {expected}; give a teacher trained for the "
        "same classes"
    )


def _resnet_from(data: object, path: Path) -> CifarResNet:
    if isinstance(data, Mapping):
        data = data.get("state_dict", data)
    if not isinstance(data, Mapping):
        raise FileFormatError(path, f"holds a {type(data).__name__}; expected {EXPECTED}")
    try:
        return load_cifar_resnet(data)
    except InputError as error:
        raise FileFormatError(
            path,
            f"holds {error}; any other network can be given as TorchScript, with {CODE_OPTION}",
        ) from error


def _is_torchscript(content: bytes) -> bool:
    """Return whether a file is an archive with the parts that only ``torch.jit.save`` writes."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(name.rpartition("/")[2] == "constants.pkl" for name in archive.namelist())
    except (
        zipfile.BadZipFile,
        ValueError,
        NotImplementedError,
    ):  # torch says what is wrong with it
        return False


def _torchscript(content: bytes, path: Path) -> nn.Module:
    load: Any = torch.jit.load  # has no types
    with (
        parsing(path, f"is a damaged TorchScript file; expected {EXPECTED}"),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings(
            "ignore", category=DeprecationWarning
        )  # torch 2.13 deprecates TorchScript as a whole
        module: nn.Module = interruptible(lambda: load(io.BytesIO(content), map_location="cpu"))
    return module


def _called(module: nn.Module, x: Tensor) -> Tensor:
    """Return what a TorchScript module makes of images; Ctrl-C is heard while it runs."""

    @torch.no_grad()  # of one thread alone
    def call() -> Tensor:
        result: Tensor = module(x)
        return result

    return interruptible(call)


def check_teacher(teacher: Teacher, sample: Tensor) -> None:
    """Try a teacher on a few images.

    One that does not fit is refused before the training starts.

    Args:
        teacher: Any.
        sample: Images as in training, ``(n, c, h, w)``, scaled, on the teacher's device.

    Raises:
        MemoryError: Memory ran out.
        InputError: It fails on images of this size, or does not return finite logits for its
            classes.
    """
    size = "x".join(map(str, sample.shape[1:]))
    try:
        logits: object = teacher.logits(sample)
    except Exception as error:  # a TorchScript module may raise anything
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{teacher.description}: fails on images of {size} (channels x height x width): "
            f"{shortened(lines[-1], 200)}; "
            "give a teacher that takes them"
        ) from error
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(sample):
        came = (
            f"a tensor of shape {tuple(logits.shape)}"
            if isinstance(logits, Tensor)
            else f"a {type(logits).__name__}"
        )
        raise InputError(
            f"{teacher.description}: returns {came}; expected logits of shape ({len(sample)}, "
            f"{teacher.class_count})"
        )
    if logits.shape[1] != teacher.class_count:
        raise InputError(
            f"{teacher.description}: {_other_classes(logits.shape[1], teacher.class_count)}"
        )
    if not logits.isfinite().all():
        raise InputError(
            f"{teacher.description}: returns logits that are not finite; expected finite ones; "
            "give another teacher"
        )
