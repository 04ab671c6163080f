"""Contract of device profiles; inherit ``DeviceContract`` and provide the ``profile`` fixture."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import numpy as np
import pytest

from device_profiles import BITS, LAYER_KINDS, DeviceProfile, PairSupport
from device_profiles.profile import SOURCED_KEYS
from nas_engine.errors import InputError, UnknownNameError


class DeviceContract:
    """Inherit this and override ``profile``."""

    @pytest.fixture
    def profile(self) -> DeviceProfile:
        raise NotImplementedError("a contract class needs a `profile` fixture of its own")

    def test_every_number_has_a_source(self, profile: DeviceProfile) -> None:
        assert set(profile.sources) == set(SOURCED_KEYS)
        for key, text in profile.sources.items():
            assert len(text.split()) >= 3, (
                f"{key}: '{text}' does not say where the number comes from"
            )

    def test_budgets_are_those_of_a_microcontroller(self, profile: DeviceProfile) -> None:
        assert 10**6 <= profile.clock_hz <= 2 * 10**9
        assert 2**13 <= profile.sram_bytes <= 2**24
        assert 2**15 <= profile.flash_bytes <= 2**28
        assert (
            profile.arena_bytes
            == profile.sram_bytes - profile.reserved_sram_bytes
            > profile.sram_bytes // 2
        )
        assert (
            profile.storage_bytes
            == profile.flash_bytes - profile.reserved_flash_bytes
            > profile.flash_bytes // 2
        )

    def test_core_and_compiler_flags_agree(self, profile: DeviceProfile) -> None:
        assert (
            profile.compiler_flags is None
            or f"-mcpu={profile.core}" in profile.compiler_flags.split()
        )
        assert (
            profile.compiler_flags is None
            or profile.fpu == "none"
            or f"-mfpu={profile.fpu}" in profile.compiler_flags.split()
        )

    def test_tables_have_all_bit_widths_and_positive_cycles(self, profile: DeviceProfile) -> None:
        assert set(profile.cycles_per_mac) == set(LAYER_KINDS)
        for table in (profile.bit_pairs, *profile.cycles_per_mac.values()):
            assert np.shape(table) == (len(BITS), len(BITS))
        for kind in LAYER_KINDS:
            cycles = np.array(profile.cycles_per_mac[kind])
            assert np.isfinite(cycles).all()
            assert (cycles > 0).all()

    def test_support_reads_rows_as_weights_and_columns_as_activations(
        self, profile: DeviceProfile
    ) -> None:
        for row, w_bits in enumerate(BITS):
            for column, a_bits in enumerate(BITS):
                assert profile.support(w_bits, a_bits) is profile.bit_pairs[row][column]
                assert profile.allowed(w_bits, a_bits) == (
                    profile.bit_pairs[row][column] != PairSupport.FORBIDDEN
                )

    def test_eight_bits_always_run(self, profile: DeviceProfile) -> None:
        assert profile.support(8, 8) is PairSupport.NATIVE

    def test_native_is_never_slower_than_storage_only_at_the_same_activations(
        self, profile: DeviceProfile
    ) -> None:
        for kind in LAYER_KINDS:
            cycles = profile.cycles_table(kind)
            for a_bits in BITS:
                native = [
                    cycles[w, a_bits]
                    for w in BITS
                    if profile.support(w, a_bits) is PairSupport.NATIVE
                ]
                storage_only = [
                    cycles[w, a_bits]
                    for w in BITS
                    if profile.support(w, a_bits) is PairSupport.STORAGE_ONLY
                ]
                assert max(native, default=0.0) <= min(storage_only, default=np.inf), (
                    f"{kind}, a{a_bits}"
                )

    def test_numpy_tables_are_indexed_by_bits(self, profile: DeviceProfile) -> None:
        allowed = profile.allowed_table()
        assert allowed.shape == (9, 9)
        assert allowed.dtype == np.bool_
        assert not allowed[:2].any()
        assert not allowed[:, :2].any()
        for kind in LAYER_KINDS:
            cycles = profile.cycles_table(kind)
            assert cycles.shape == (9, 9)
            assert cycles.dtype == np.float64
            assert (np.isnan(cycles) == ~allowed).all()
            for w_bits, a_bits in np.argwhere(allowed).tolist():
                assert profile.allowed(w_bits, a_bits)
                assert (
                    cycles[w_bits, a_bits] == profile.cycles_per_mac[kind][w_bits - 2][a_bits - 2]
                )

    def test_tables_are_fresh_copies(self, profile: DeviceProfile) -> None:
        before = profile.allowed_table()
        profile.allowed_table()[:] = False
        profile.cycles_table("conv")[:] = -1
        assert (profile.allowed_table() == before).all()
        assert np.nanmin(profile.cycles_table("conv")) > 0

    @pytest.mark.parametrize(
        "bits", [(1, 8), (8, 9), (0, 0), (2.0, 8), (8, "8"), (True, 8), (None, 2)]
    )
    def test_other_bit_widths_are_refused(
        self, profile: DeviceProfile, bits: tuple[object, object]
    ) -> None:
        with pytest.raises(InputError, match="expected one of 2, 3, 4, 5, 6, 7, 8"):
            profile.support(*bits)
        with pytest.raises(InputError, match=r"^(weight|activation) bits: "):
            profile.allowed(*bits)

    def test_unknown_layer_kind_is_refused_with_the_nearest(self, profile: DeviceProfile) -> None:
        with pytest.raises(UnknownNameError, match="did you mean 'depthwise'"):
            profile.cycles_table("depth_wise")

    def test_is_frozen(self, profile: DeviceProfile) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            profile.sram_bytes = 1  # type: ignore[misc]
        with pytest.raises(TypeError):
            profile.sources["clock_hz"] = "nobody"  # type: ignore[index]
        with pytest.raises(TypeError):
            profile.cycles_per_mac["conv"] = ()  # type: ignore[index]

    def test_survives_pickle_and_copy(self, profile: DeviceProfile) -> None:
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(profile, protocol)) == profile
        assert copy.deepcopy(profile) == profile
        assert hash(copy.deepcopy(profile)) == hash(profile)

    def test_with_memory_changes_totals_and_keeps_what_is_reserved(
        self, profile: DeviceProfile
    ) -> None:
        other = profile.with_memory(
            sram_bytes=2 * profile.sram_bytes, flash_bytes=profile.flash_bytes + 1
        )
        assert other.arena_bytes == profile.arena_bytes + profile.sram_bytes
        assert other.storage_bytes == profile.storage_bytes + 1
        assert (
            other.sources["sram_bytes"]
            == other.sources["flash_bytes"]
            != profile.sources["sram_bytes"]
        )
        assert other != profile
        assert (
            other.with_memory(profile.sram_bytes, profile.flash_bytes).arena_bytes
            == profile.arena_bytes
        )

    def test_with_memory_of_the_same_sizes_changes_nothing(self, profile: DeviceProfile) -> None:
        assert profile.with_memory() == profile
        assert profile.with_memory(profile.sram_bytes, profile.flash_bytes) == profile

    def test_with_memory_names_what_is_reserved_and_the_least_to_type(
        self, profile: DeviceProfile
    ) -> None:
        for total, reserved, left in (
            ("sram_bytes", profile.reserved_sram_bytes, "arena_bytes"),
            ("flash_bytes", profile.reserved_flash_bytes, "storage_bytes"),
        ):
            least = (reserved // 1024 + 1) * 1024
            assert getattr(profile.with_memory(**{total: least}), left) == least - reserved
            if reserved:
                with pytest.raises(
                    InputError,
                    match=rf"reserves {reserved:,} B .*; give at least {least // 1024}k$",
                ):
                    profile.with_memory(**{total: reserved})
