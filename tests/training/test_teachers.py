"""Teachers from every kind of file, and what is refused."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nas_engine.errors import InputError, PathError
from nas_engine.models.cifar_resnet import cifar_resnet
from nas_engine.models.graph_network import GraphNetwork, scale_images
from nas_engine.quantization.prepare import insert_quantisers
from nas_engine.reading import UnreadableError
from nas_engine.training import teacher_forms
from nas_engine.training.networks import save_network
from nas_engine.training.teacher_forms import (
    FOLDED,
    FORMS,
    GIVEN,
    HALF,
    fastest_form,
    in_form,
)
from nas_engine.training.teachers import Teacher, check_teacher, load_teacher, teacher_from
from tests.training.networks import small_architecture
from tests.training.test_networks import Hostile, refused


def images(size: int = 16, channels: int = 3) -> Tensor:
    return torch.randint(
        0,
        256,
        (5, size, size, channels),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(2),
    )


def save_torchscript(path: Path, module: nn.Module) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch 2.13 deprecates TorchScript
        torch.jit.script(module).save(str(path))
    return path


class Means(nn.Module):
    """Logits are the mean of each colour; dropout shows whether it is in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x.mean((2, 3)) * self.scale)


class Pair(Means):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Flat(Means):
    """Fits one image size only."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ torch.ones(3 * 8 * 8, 3)


class Infinite(Means):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) / 0


def test_torchscript_takes_images_from_0_to_1_and_has_no_features(tmp_path: Path) -> None:
    teacher = load_teacher(
        save_torchscript(tmp_path / "means.pt", Means()), class_count=3, code=True
    )
    x = scale_images(images())
    check_teacher(teacher, x)
    logits = teacher.logits(x)
    torch.testing.assert_close(logits, images().to(torch.float32).mean((1, 2)) / 255)
    assert not logits.requires_grad
    assert teacher.features(x) is None
    assert teacher.feature_channels is None
    assert teacher.description == "TorchScript (means.pt)"


@pytest.mark.parametrize("layout", ["bare", "under state_dict", "module."])
def test_state_dict_of_a_resnet(tmp_path: Path, layout: str) -> None:
    torch.manual_seed(0)
    network = cifar_resnet(20, class_count=4)
    state = network.state_dict()
    if layout == "module.":
        state = {f"module.{key}": value for key, value in state.items()}
    torch.save(
        {"state_dict": state, "best_prec1": 91.7} if layout != "bare" else state,
        tmp_path / "net.th",
    )
    teacher = load_teacher(tmp_path / "net.th", class_count=4)
    x = scale_images(images())
    check_teacher(teacher, x)
    with torch.no_grad():
        torch.testing.assert_close(teacher.logits(x), network.eval()(x))
    logits, features = teacher.outputs(x)
    assert features is not None
    assert features.shape == (5, 64, 1, 1)
    assert torch.equal(logits, teacher.logits(x))
    assert teacher.feature_channels == 64
    assert teacher.description == "ResNet-20 (net.th)"


def test_own_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = GraphNetwork(small_architecture()).eval()
    save_network(tmp_path / "network.pt", network)
    teacher = load_teacher(tmp_path / "network.pt", class_count=4)
    x = scale_images(images())
    check_teacher(teacher, x)
    with torch.no_grad():
        torch.testing.assert_close(teacher.logits(x), network(x))
        torch.testing.assert_close(teacher.features(x), network.features(x))
    assert teacher.feature_channels == 32
    assert teacher.description == "network (network.pt)"


def test_a_teacher_answers_in_evaluation_mode_without_gradients() -> None:
    torch.manual_seed(0)
    network = GraphNetwork(small_architecture()).train()
    state = {key: value.clone() for key, value in network.state_dict().items()}
    teacher = teacher_from(network, "wider")
    x = scale_images(images()).requires_grad_()
    logits, features = teacher.outputs(x)
    assert features is not None
    assert not logits.requires_grad
    assert not features.requires_grad
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert teacher.to("cpu") is teacher
    assert repr(teacher) == "Teacher(class_count=4, description='wider')"


def test_other_classes_than_the_data(tmp_path: Path) -> None:
    torch.save(cifar_resnet(20, class_count=10).state_dict(), tmp_path / "net.th")
    with pytest.raises(
        PathError,
        match=(
            r"net\.th: the teacher has 10 classes, the data 2; give a teacher trained for the same "
            r"classes$"
        ),
    ):
        load_teacher(tmp_path / "net.th", class_count=2)
    teacher = load_teacher(
        save_torchscript(tmp_path / "means.pt", Means()), class_count=2, code=True
    )
    with pytest.raises(
        InputError, match=r"^TorchScript \(means\.pt\): the teacher has 3 classes, the data 2; "
    ):
        check_teacher(teacher, scale_images(images()))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            Flat(),
            (
                r"fails on images of 3x16x16 \(channels x height x width\): RuntimeError: [^\n]*; "
                r"give a teacher that takes them"
            ),
        ),
        (Pair(), r"returns a tuple; expected logits of shape \(5, 3\)"),
        (
            nn.Identity(),
            r"returns a tensor of shape \(5, 3, 16, 16\); expected logits of shape \(5, 3\)",
        ),
        (
            Infinite(),
            r"returns logits that are not finite; expected finite ones; give another teacher",
        ),
    ],
)
def test_a_module_that_does_not_fit(tmp_path: Path, module: nn.Module, message: str) -> None:
    teacher = load_teacher(
        save_torchscript(tmp_path / "other.pt", module), class_count=3, code=True
    )
    with pytest.raises(InputError, match=rf"^TorchScript \(other\.pt\): {message}$"):
        check_teacher(teacher, scale_images(images()))


def test_images_with_other_channels() -> None:
    teacher = teacher_from(GraphNetwork(small_architecture()), "wider")
    with pytest.raises(
        InputError,
        match=r"^wider: fails on images of 1x16x16 \(channels x height x width\): [^\n]*$",
    ):
        check_teacher(teacher, scale_images(images(channels=1)))


def teacher_message(path: Path) -> str:
    return refused(path, lambda path: load_teacher(path, class_count=10))


def test_files_that_are_no_teacher(tmp_path: Path) -> None:
    path = tmp_path / "teacher.pt"
    expected = (
        "expected the state dict of a CIFAR ResNet (20, 32, 44, 56), or a network saved by "
        "nas-search"
    )
    with pytest.raises(UnreadableError) as missing:
        load_teacher(path, class_count=10)
    assert missing.value.problem == f"cannot be read (No such file or directory); {expected}"
    assert teacher_message(tmp_path) == "is a folder; expected a regular file"
    path.write_bytes(b"no network at all")
    assert teacher_message(path) == f"is damaged, cut off or of another kind; {expected}"
    torch.save([1, 2], path)
    assert teacher_message(path) == f"holds a list; {expected}"
    torch.save(nn.Sequential(nn.Linear(2, 10), nn.Linear(10, 10)).state_dict(), path)
    message = (
        "holds the state dict of an unknown network (4 keys: '0.weight', '0.bias', '1.weight' "
        "...); expected that of a CIFAR ResNet"
    )
    assert teacher_message(path).startswith(message)
    torch.save({}, path)
    assert teacher_message(path).startswith("holds the state dict of an unknown network (no keys)")
    torch.save({"format": "nas-search/network/9"}, path)
    assert teacher_message(path).startswith(
        "format is 'nas-search/network/9'; expected 'nas-search/network/1'"
    )


def test_code_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save(Hostile(tmp_path / "trace"), tmp_path / "teacher.pt")
    assert teacher_message(tmp_path / "teacher.pt").startswith("holds objects or code (")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_torchscript_that_is_cut_off(tmp_path: Path, share: float) -> None:
    path = save_torchscript(tmp_path / "means.pt", Means())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert teacher_message(path).startswith("is damaged, cut off or of another kind")


def test_torchscript_that_is_damaged_inside(tmp_path: Path) -> None:
    path = save_torchscript(tmp_path / "means.pt", Means())
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, b"def" if name.endswith(".py") else content)
    assert refused(path, lambda path: load_teacher(path, class_count=10, code=True)).startswith(
        "is a damaged TorchScript file; expected "
    )


class Writing(nn.Module):
    """Leaves a file behind."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, self.path)
        return x.mean((2, 3))


def test_a_program_runs_only_where_an_option_says_so(tmp_path: Path) -> None:
    path, trace = tmp_path / "writing.pt", tmp_path / "trace"
    save_torchscript(path, Writing(str(trace)))
    message = (
        "is a TorchScript file, which is a program: as a teacher it runs on this machine with your "
        "rights; expected the state dict"
    )
    assert teacher_message(path).startswith(message)
    assert teacher_message(path).endswith(
        "or give --teacher-code (in Python teacher_code=True) if you trust who made it"
    )
    assert not trace.exists()
    check_teacher(load_teacher(path, class_count=3, code=True), scale_images(images()))
    assert trace.exists()


def test_a_program_at_any_place_of_the_archive_is_one(tmp_path: Path) -> None:
    path = save_torchscript(tmp_path / "means.pt", Means())
    with zipfile.ZipFile(path) as archive:
        parts = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    for folder in ("", "a/b/", "archive/"):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in parts.items():
                archive.writestr(folder + name, content)
        assert teacher_message(path).startswith("is a TorchScript file, which is a program")


class Waiting(nn.Module):
    """Stands for a program that does not end by itself."""

    def __init__(self, begun: threading.Event, ended: threading.Event) -> None:
        super().__init__()
        self.begun, self.ended = begun, ended

    def forward(self, x: Tensor) -> Tensor:
        self.begun.set()
        self.ended.wait()
        return x


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent by number")
def test_a_program_without_an_end_is_interrupted() -> None:
    begun, ended = threading.Event(), threading.Event()
    teacher = Teacher(module=Waiting(begun, ended), class_count=3, description="waiting")

    def interrupt() -> None:
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            teacher.logits(scale_images(images()))
    finally:
        ended.set()


def test_teacher_is_frozen() -> None:
    teacher = Teacher(module=nn.Identity(), class_count=3, description="nothing")
    with pytest.raises(AttributeError):
        teacher.class_count = 4  # type: ignore[misc]


class TestForms:
    """Faster forms answer nearly the same; what cannot be folded stays as it is."""

    @pytest.mark.parametrize("kind", ["resnet", "own"])
    @pytest.mark.parametrize("form", FORMS)
    def test_nearly_equal_answers(self, kind: str, form: str) -> None:
        torch.manual_seed(0)
        teacher = teacher_from(
            cifar_resnet(20, 4) if kind == "resnet" else GraphNetwork(small_architecture()), kind
        )
        x = scale_images(images())
        expected = teacher.outputs(x)
        formed = in_form(teacher, form)
        assert formed is not None
        assert (formed is teacher) == (form == GIVEN)
        assert formed.feature_channels == teacher.feature_channels
        for found, wanted in zip(formed.outputs(x), expected, strict=True):
            assert found is not None
            assert wanted is not None
            assert found.dtype == torch.float32
            assert found.shape == wanted.shape
            limit = 0.03 if form == HALF else 1e-5
            assert float((found - wanted).abs().max()) <= limit * float(wanted.abs().max())

    def test_where_bfloat16_is_fast(self, monkeypatch: pytest.MonkeyPatch) -> None:
        own = teacher_from(GraphNetwork(small_architecture()), "own")
        for fast, form in ((True, HALF), (False, FOLDED)):
            monkeypatch.setattr(teacher_forms, "_computes_in_bfloat16", lambda fast=fast: fast)
            assert fastest_form(own, "cpu") == form
            assert fastest_form(own, "cuda") == GIVEN

    def test_without_a_form(self) -> None:
        quantised = GraphNetwork(small_architecture())
        insert_quantisers(quantised)
        program = Teacher(module=Means(), class_count=3, description="means")
        assert fastest_form(teacher_from(quantised, "quantised"), "cpu") == GIVEN
        assert fastest_form(program, "cpu") == GIVEN
        assert fastest_form(None, "cpu") == GIVEN
        assert in_form(None, HALF) is None
