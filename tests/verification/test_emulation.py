"""The emulated boards: a stand-in network that behaves, and one that does not; budgets; real
networks against the integers.
"""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.kernels import write_export
from nas_engine.costs.instruction_model import instruction_model
from nas_engine.costs.plan import plan_graph, plan_schedule
from nas_engine.errors import InputError
from nas_engine.exporters.instructions import predicted_instructions
from nas_engine.exporters.sizes import packed_bytes
from nas_engine.integer.lowering import lower
from nas_engine.integer.model import IntegerModel
from nas_engine.integer.reference import run as run_integers
from nas_engine.integer.store import GoldenVectors
from nas_engine.quantization.record import QuantisedTensor
from nas_engine.testing.networks import Untrained, random_images
from nas_engine.verification.backend import BackendError
from nas_engine.verification.board import (
    REGIONS,
    SRAM_ORIGIN,
    Board,
    Firmware,
    Machine,
    MachineRun,
    fence,
    step_records,
)
from nas_engine.verification.cortex_m import (
    MACHINES,
    CortexM,
    build,
    footprint,
    unpacked,
)
from nas_engine.verification.elf import Elf
from nas_engine.verification.result import MOST_OFF
from nas_engine.verification.toolchain import CORES, find_toolchain
from nas_engine.verification.unicorn_machine import MODELS, Unicorn, instructions_in
from tests.verification import standin
from tests.verification.standin import BEHAVIOURS, compilers, emulators

SRAM, FLASH = 66_048, 100_000
"""Sizes that are no power of two and no whole number of pages."""

PAIRS = [
    pytest.param(*pair, id="-".join(pair)) for pair in itertools.product(compilers(), emulators())
]
needs_emulation = pytest.mark.skipif(
    not PAIRS, reason="needs a compiler and an emulator: pip install 'nas-search[mcu]'"
)


def machine(name: str) -> Machine:
    return next(machine for machine in MACHINES if machine.name == name)


@pytest.fixture(scope="session")
def standins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Firmware]:
    """The stand-in for a Cortex-M7, linked by every compiler."""
    board, images = (
        Board(core="cortex-m7", sram_bytes=SRAM, flash_bytes=FLASH, stack_bytes=2048),
        {},
    )
    for name in compilers():
        folder = tmp_path_factory.mktemp(name)
        images[name] = build(
            find_toolchain(name), board, standin.write(folder / "c", sram=SRAM, flash=FLASH), folder
        )
    return images


@needs_emulation
@pytest.mark.parametrize(("compiler", "emulator"), PAIRS)
class TestStandIn:
    def test_images_in_logits_out(
        self, standins: dict[str, Firmware], compiler: str, emulator: str
    ) -> None:
        images = [bytes([0, *range(k, k + 11)]) for k in range(4)]
        run = machine(emulator).run(standins[compiler], b"".join(images), 60)
        assert run.files["logits"] == standin.answers(images)
        records = list(step_records(run.files["steps"]))
        assert [record.step for record in records] == [0, 1]
        first, second = (record.values for record in records)
        assert first[:12] == images[0]
        assert first[12:24] == bytes(
            (value * (1, 2, 3)[i % 3]) & 255 for i, value in enumerate(images[0])
        )
        assert second[:3] == standin.answers(images)[:3]
        assert run.seconds > 0

    def test_stack_reaches_as_deep_as_the_recursion(
        self, standins: dict[str, Firmware], compiler: str, emulator: str
    ) -> None:
        run = machine(emulator).run(standins[compiler], bytes(standin.SIZE), 60)
        stack = int.from_bytes(run.files["stack"], "little")
        assert 21 * 64 <= stack <= 2048
        assert stack % 4 == 0

    @pytest.mark.parametrize(
        ("behaviour", "told"),
        [
            ("write beyond SRAM", r"0x20010200, outside 66,048 B of SRAM"),
            ("read beyond SRAM", r"0x20010200, outside 66,048 B of SRAM"),
            ("read beyond Flash", r"0x000186a0, outside 100,000 B of Flash"),
            ("write to Flash", r"0x00000040, which is Flash"),
            ("execute SRAM", r"execution at 0x2000[0-9a-f]{4}, in SRAM"),
            ("overflow the stack", r"0x1fff[0-9a-f]{4}, below the SRAM: a stack overflow"),
            ("write below SRAM", r"0x1ffffffc, below the SRAM: a stack overflow"),
            ("undefined instruction", r"(?i)undefined instruction|invalid instruction"),
        ],
    )
    def test_faults(
        self, standins: dict[str, Firmware], compiler: str, emulator: str, behaviour: str, told: str
    ) -> None:
        image = bytes([BEHAVIOURS.index(behaviour), *bytes(11)])
        with pytest.raises(BackendError, match=told) as caught:
            machine(emulator).run(standins[compiler], image, 60)
        assert str(caught.value).startswith(f"{emulator}: fault")
        if "SRAM" in behaviour and behaviour != "execute SRAM":
            assert "(first+0x" in str(caught.value)

    def test_unaligned_pairs(
        self, standins: dict[str, Firmware], compiler: str, emulator: str
    ) -> None:
        if emulator == "unicorn":
            pytest.skip("unicorn does not check the alignment of LDRD")
        with pytest.raises(BackendError, match=r"\(first\+0x.*unaligned access"):
            machine(emulator).run(
                standins[compiler], bytes([BEHAVIOURS.index("unaligned pair"), *bytes(11)]), 60
            )

    def test_a_fault_at_a_later_image(
        self, standins: dict[str, Firmware], compiler: str, emulator: str
    ) -> None:
        images = bytes(2 * standin.SIZE) + bytes(
            [BEHAVIOURS.index("write beyond SRAM"), *bytes(11)]
        )
        with pytest.raises(BackendError, match="outside 66,048 B of SRAM"):
            machine(emulator).run(standins[compiler], images, 60)

    def test_an_endless_loop_ends(
        self, standins: dict[str, Firmware], compiler: str, emulator: str
    ) -> None:
        image = bytes([BEHAVIOURS.index("loop"), *bytes(11)])
        with pytest.raises(BackendError, match=r"no end after 0\.5 s"):
            machine(emulator).run(standins[compiler], image, 0.5)


@pytest.mark.skipif(
    set(emulators()) != {"qemu", "unicorn"}, reason="needs qemu and unicorn, to compare them"
)
@pytest.mark.parametrize("compiler", compilers())
def test_both_emulators_agree(standins: dict[str, Firmware], compiler: str) -> None:
    image = bytes([0, *range(11)])
    qemu, unicorn = (
        machine(name).run(standins[compiler], image, 60) for name in ("qemu", "unicorn")
    )
    assert qemu.files == unicorn.files | {"steps": qemu.files["steps"]}
    records = list(step_records(qemu.files["steps"]))
    assert [record.values for record in records] == [
        record.values for record in step_records(unicorn.files["steps"])
    ]
    assert unicorn.instructions is not None
    for counted, record in zip(unicorn.instructions, records, strict=True):
        measured = record.ticks / 1.6
        assert 0 <= measured - counted <= 30  # the harness's own, between the counter and the step


INSTRUCTIONS = {
    "udiv r0, r1, r2": (0xF0F2_FBB1, ("cortex-m4", "cortex-m7", "cortex-m33")),
    "smlad r0, r1, r2, r3": (0x3002_FB21, ("cortex-m4", "cortex-m7", "cortex-m33")),
    "vsel.f32 s0, s0, s2": (0x0A01_FE00, ("cortex-m7", "cortex-m33")),
    "vadd.f64 d0, d1, d2": (0x0B02_EE31, ("cortex-m7",)),
    "lda r0, [r0]": (0x0FAF_E8D0, ("cortex-m33",)),
}
"""Words of instructions and the cores that have them; no two cores have the same."""


@pytest.mark.skipif(
    "unicorn" not in emulators(), reason="needs unicorn: pip install 'nas-search[mcu]'"
)
@pytest.mark.parametrize("compiler", compilers())
class TestCores:
    @pytest.mark.parametrize("core", MODELS)
    def test_the_core_that_is_named_is_the_one_that_runs(
        self, tmp_path: Path, compiler: str, core: str
    ) -> None:
        cases = "".join(
            f'case {at}: __asm volatile("mov r0, %0\\n.inst.n 0x{word & 0xFFFF:04X}\\n.inst.n '
            f'0x{word >> 16:04X}" '
            ': : "r"(arena) : "r0", "r1"); break;'
            for at, (word, _) in enumerate(INSTRUCTIONS.values(), 1)
        )
        source = (
            f'switch (arena[1]) {{ {cases} case 9: __asm volatile("ldr r2, [%0]" : : "r"(arena + '
            f'2) : "r2"); break; default: break; }}'
        )
        board = Board(core=core, sram_bytes=SRAM, flash_bytes=FLASH, stack_bytes=2048)
        place = standin.write(tmp_path / "c", sram=SRAM, flash=FLASH)
        text = (place / "model.c").read_text(encoding="utf-8")
        pair = next(
            line for line in text.splitlines() if "ldrd" in line
        )  # which a Cortex-M0 has not
        text = text.replace(pair, "").replace("default: break;", f"default: {source} break;")
        (place / "model.c").write_text(text, encoding="utf-8")
        firmware = build(find_toolchain(compiler), board, place, tmp_path)

        def run(case: int) -> MachineRun:
            return Unicorn().run(firmware, bytes([255, case, *bytes(10)]), 60)

        assert len(run(0).files["logits"]) == standin.CLASSES
        for case, (_, cores) in enumerate(INSTRUCTIONS.values(), 1):
            if core in cores:
                run(case)
            else:
                with pytest.raises(
                    BackendError, match=r"unicorn: fault at .*(?i:invalid instruction)"
                ):
                    run(case)
        if core == "cortex-m0":
            with pytest.raises(BackendError, match=r"fault at .*: unaligned access"):
                run(9)
        else:
            run(9)


@needs_emulation
@pytest.mark.parametrize("compiler", compilers())
class TestBudget:
    def test_footprint(self, standins: dict[str, Firmware], compiler: str) -> None:
        firmware = standins[compiler]
        used = footprint(firmware, 100)
        assert used.packed == 64
        assert used.arena == standin.ARENA
        assert used.static_ram == 4 + 4  # `calls`, and padding in front of the arena
        assert used.flash == max(
            part.address + len(part.content)
            for part in firmware.elf.segments
            if part.address < FLASH
        )
        assert 0 < firmware.elf.size(".runtime") < used.code < 2500
        assert firmware.elf.sections[-1].address < SRAM_ORIGIN + SRAM

    @pytest.mark.parametrize(("arena", "fits"), [(60_000, True), (60_000 + 4032, False)])
    def test_sram(self, tmp_path: Path, compiler: str, arena: int, fits: bool) -> None:
        board = Board(
            core="cortex-m4", sram_bytes=60_000 + 4096, flash_bytes=FLASH, stack_bytes=2048
        )
        source = standin.write(tmp_path / "c", arena=arena, sram=board.sram_bytes, flash=FLASH)
        if fits:
            assert (
                footprint(build(find_toolchain(compiler), board, source, tmp_path), 0).arena
                == arena
            )
            return
        told = (
            r"^Cortex-M4: SRAM over budget by 1,992 B: arena 64,032 \+ stack 2,048 \+ data 8 > "
            r"64,096 B$"
        )
        with pytest.raises(BackendError, match=told):
            build(find_toolchain(compiler), board, source, tmp_path, "Cortex-M4")

    def test_flash(self, tmp_path: Path, compiler: str) -> None:
        board = Board(core="cortex-m7", sram_bytes=SRAM, flash_bytes=20_000, stack_bytes=2048)
        source = standin.write(tmp_path / "c", packed=20_000, sram=SRAM, flash=FLASH)
        with pytest.raises(
            BackendError,
            match=r"^x: Flash over budget by [\d,]+ B: packed 20,000 \+ code [\d,]+ > 20,000 B$",
        ):
            build(find_toolchain(compiler), board, source, tmp_path, "x")

    def test_what_does_not_link_for_another_reason(self, tmp_path: Path, compiler: str) -> None:
        board = Board(core="cortex-m7", sram_bytes=SRAM, flash_bytes=FLASH, stack_bytes=2048)
        source = standin.write(tmp_path / "c", sram=SRAM, flash=FLASH)
        text = (source / "model.c").read_text(encoding="utf-8")
        (source / "model.c").write_text(
            text.replace("int model_init", "int other_init"), encoding="utf-8"
        )
        with pytest.raises(BackendError, match=r"undefined.*model_init"):
            build(find_toolchain(compiler), board, source, tmp_path)


@needs_emulation
@pytest.mark.parametrize(("compiler", "emulator"), PAIRS[-1:])
def test_rows_of_images_are_read_from_flash(tmp_path: Path, compiler: str, emulator: str) -> None:
    built = Untrained((5, 7, 3), np.random.default_rng(0))
    built.layer("stem", 8, 3, 1, 8, 8)
    built.pool("pool", 7, 1, padding=(1, 1, 0, 0))
    built.layer("classifier", 3, 1, 1, 8, 8, signed=True)
    model = lower(built.network())
    plan, images = plan_schedule(model, "rows", "rows"), random_images(model, 3)
    assert plan.image_rows
    golden = write_export(model, images, tmp_path, plan)
    backend = CortexM(compiler=compiler, emulator=emulator, sram_bytes=SRAM, flash_bytes=FLASH)
    found = backend.run(tmp_path, model, images, tmp_path / "work")
    assert found.logits.tolist() == golden.logits.tolist()
    assert found.footprint is not None
    assert found.footprint.static_ram == 0  # no row of an image is copied


class TestFence:
    @pytest.mark.parametrize("core", ["cortex-m4", "cortex-m7"])
    def test_has_a_region_for_images(self, core: str) -> None:
        board = Board(core=core, sram_bytes=SRAM, flash_bytes=FLASH, stack_bytes=2048)
        with_images = replace(board, images_bytes=5000)
        text = with_images.header()
        place = f"0x{with_images.images_origin:08X}U"
        assert text.count("{0x") <= REGIONS
        assert f"{{{place}, " in text
        assert f"{{{place}, " not in board.header()
        assert f"BOARD_IMAGES_END 0x{with_images.images_origin + 5000:08X}U" in text

    @pytest.mark.parametrize(
        "kib",
        [1, 16, 20, 64, 96, 112, 128, 192, 256, 320, 340, 512, 564, 640, 1024, 1536, 2048, 4096],
    )
    def test_covers_exactly(self, kib: int) -> None:
        size = kib * 1024
        regions = fence(SRAM_ORIGIN, size, REGIONS - 4)
        end = SRAM_ORIGIN
        for region in regions:
            assert region.base == end
            assert region.base % (1 << region.log2_size) == 0
            assert region.log2_size >= 8 or not region.disabled
            end = region.end
        assert end == SRAM_ORIGIN + size

    def test_too_few_regions_reach_beyond(self) -> None:
        (only,) = fence(0, 5 * 1024 + 64, 1)
        assert only.end == 6 * 1024
        assert fence(0, 48, 2)[-1].end == 64


class TestInstructions:
    @pytest.mark.parametrize(
        ("halfwords", "count"),
        [
            ([0xBF00], 1),
            ([0xBF00, 0x4770], 2),
            ([0xF3AF, 0x8000], 1),
            ([0xE92D, 0x4FF0, 0xB082, 0xFB00, 0xF101], 3),
            ([], 0),
        ],
    )
    def test_thumb_instructions_have_two_lengths(self, halfwords: list[int], count: int) -> None:
        assert instructions_in(np.array(halfwords, "<u2").tobytes()) == count


class TestUnpacked:
    @pytest.mark.parametrize(
        ("bits", "signed"), [*itertools.product((2, 3, 4, 5, 6, 7, 8), (False, True))]
    )
    def test_any_width(self, bits: int, signed: bool) -> None:
        spec = QuantisedTensor(
            name="t", height=3, width=2, channels=5, bits=bits, signed=signed, scale=1.0
        )
        stored = np.random.default_rng(bits).integers(0, 2**bits, 30)
        number = sum(int(value) << i * bits for i, value in enumerate(stored))
        content = number.to_bytes(40, "little")
        values = unpacked(content, spec)
        assert values.shape == (3, 2, 5)
        assert (values.ravel().astype(int) - spec.low == stored).all()

    def test_too_few_bytes(self) -> None:
        spec = QuantisedTensor(
            name="t", height=3, width=2, channels=5, bits=4, signed=False, scale=1.0
        )
        with pytest.raises(BackendError, match="'t' has 14 B in the arena; expected 15"):
            unpacked(bytes(14), spec)


class TestSettings:
    def test_names(self) -> None:
        assert CortexM().name == "Cortex-M7"
        assert CortexM(core="cortex-m4").name == "Cortex-M4"
        assert CortexM().exact

    @pytest.mark.parametrize(
        "settings",
        [
            {"core": "cortex-m3"},
            {"compiler": "icc"},
            {"emulator": "gem5"},
            {"stack_bytes": 1001},
            {"images_limit": 0},
            {"sram_bytes": 0},
        ],
    )
    def test_wrong_settings(self, settings: dict[str, int | str]) -> None:
        with pytest.raises(InputError, match="expected"):
            CortexM(**settings)  # type: ignore[arg-type]

    def test_missing_is_one_line_with_the_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "nas_engine.verification.cortex_m.missing_compiler", lambda choice: None
        )
        for item in MACHINES:
            monkeypatch.setattr(
                type(item), "missing", lambda self: f"{self.name} is not there; install it"
            )
        assert "pip install 'nas-search[mcu]'" in (CortexM().missing() or "")
        assert CortexM(emulator="qemu").missing() == "qemu is not there; install it"
        monkeypatch.setattr(
            "nas_engine.verification.cortex_m.missing_compiler", lambda choice: "no compiler"
        )
        assert CortexM().missing() == "no compiler"


@dataclass(frozen=True)
class Exported:
    model: IntegerModel
    images: np.ndarray
    golden: GoldenVectors
    folder: Path


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A network of every kernel, with widths of words and of streams; some depth-wise channels
    shift to the left.
    """
    built = Untrained((9, 9, 3), np.random.default_rng(7))
    stream = built.layer("stem", 16, 3, 2, 8, 8)
    built.layer("a.expand", 32, 1, 1, 4, 4)
    filtered = built.layer("a.depthwise", 32, 3, 1, 8, 8, kind="depthwise", steep=True)
    stream = built.layer("a.project", 16, 1, 1, 8, 8, source=filtered, shortcut=stream, signed=True)
    built.layer("b.expand", 32, 1, 1, 2, 5)
    built.layer("b.depthwise", 32, 5, 2, 3, 4, kind="depthwise", steep=True)
    built.layer("b.project", 24, 1, 1, 5, 6, signed=True)
    head = built.layer("head", 40, 1, 1, 6, 8)
    built.pool("pool", head.height, 1)
    built.layer("classifier", 5, 1, 1, 7, 8, signed=True)
    model = lower(built.network(), {"weights": "random, seed 7"})
    images, folder = random_images(model, 3), tmp_path_factory.mktemp("export")
    return Exported(model, images, write_export(model, images, folder), folder)


@needs_emulation
@pytest.mark.parametrize(("compiler", "emulator"), PAIRS)
@pytest.mark.parametrize("core", CORES)
def test_a_network_equals_the_integers(
    exported: Exported, tmp_path: Path, core: str, compiler: str, emulator: str
) -> None:
    backend = CortexM(
        core=core, sram_bytes=64 << 10, flash_bytes=128 << 10, compiler=compiler, emulator=emulator
    )
    if core not in machine(emulator).cores:
        assert "has no board with a Cortex-M" in (backend.missing() or "")
        return
    assert backend.missing() is None
    result = backend.run(exported.folder, exported.model, exported.images, tmp_path)
    assert (result.logits == exported.golden.logits).all()
    assert result.checksums == {
        step.output: exported.golden.checksums[step.output] for step in exported.model.nodes
    }
    assert list(result.instructions) == [step.name for step in exported.model.nodes]
    assert all(number > 50 for number in result.instructions.values())
    used = result.footprint
    assert used is not None
    assert used.arena == plan_graph(exported.model).arena_bytes
    assert used.packed == packed_bytes(exported.model)
    assert Elf((tmp_path / "firmware.elf").read_bytes()).size(".runtime") <= 16 << 10
    assert 100 < used.stack < 2048
    assert used.static_ram <= 16
    if (prices := instruction_model(core, find_toolchain(compiler).key)) is not None:
        steps = predicted_instructions(prices, exported.model, plan_graph(exported.model))
        assert sum(steps.values()) == pytest.approx(sum(result.instructions.values()), rel=MOST_OFF)
    assert emulator in result.version
    assert "\n" not in result.version


@needs_emulation
def test_only_the_first_images_are_run(exported: Exported, tmp_path: Path) -> None:
    result = CortexM(images_limit=2).run(exported.folder, exported.model, exported.images, tmp_path)
    assert (result.logits == run_integers(exported.model, exported.images[:2])).all()


@needs_emulation
def test_a_wrong_weight_shows(exported: Exported, tmp_path: Path) -> None:
    folder = shutil.copytree(exported.folder, tmp_path / "export")
    text = (folder / "c" / "model.c").read_text(encoding="utf-8")
    at = text.index("{", text.index("constants_00")) + 1
    word = text[at:].split(",")[0].strip()
    (folder / "c" / "model.c").write_text(
        text[:at] + f"\n{word} + 100000," + text[at:].split(",", 1)[1], encoding="utf-8"
    )
    result = CortexM().run(folder, exported.model, exported.images[:1], tmp_path / "work")
    assert result.checksums["stem output"] != exported.golden.checksums["stem output"]
