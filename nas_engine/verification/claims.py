"""Claims that a verification may make about a device.

They depend on which emulated core stands for the device's own, and whether it ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nas_engine.verification.result import Comparison, Verdict

STANDS_FOR: Mapping[str, tuple[str, str]] = {
    "cortex-m0": ("cortex-m0", ""),
    "cortex-m0plus": ("cortex-m0", "ARMv6-M"),
    "cortex-m1": ("cortex-m0", "ARMv6-M"),
    "cortex-m3": ("cortex-m0", "ARMv6-M"),
    "cortex-m23": ("cortex-m0", "ARMv6-M"),
    "cortex-m4": ("cortex-m4", ""),
    "cortex-m7": ("cortex-m7", ""),
    "cortex-m33": ("cortex-m33", ""),
}
"""For the core of a device: the emulated core whose run counts for it, and the instruction set that
both execute; empty where it is the very core. (ARMv6-M is part of ARMv7-M and of ARMv8-M: Arm DDI
0403, D5.2, and DDI 0553, B1.) A core that is not here runs nowhere.
"""


def stand_in(core: str) -> str | None:
    """Return the emulated core that stands for the core of a device, ``None`` if there is none."""
    found = STANDS_FOR.get(_plain(core))
    return found[0] if found else None


def title(core: str) -> str:
    """Return the name of a core as written in text: ``Cortex-M0+`` for ``cortex-m0plus``.

    Names of cores other than Cortex-M are unchanged.
    """
    name = _plain(core)
    return (
        f"Cortex-M{name.removeprefix('cortex-m').replace('plus', '+').upper()}"
        if name.startswith("cortex-m")
        else core
    )


def _plain(core: str) -> str:
    return core.strip().lower().replace("+", "plus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Verification status of the core of the device."""

    core: str
    """The core, as its profile names it; empty where it is not recorded."""
    ran_on: str | None
    """The emulated core that ran for it with every value equal, ``None`` if none did."""
    says: str
    """The same as part of a sentence."""

    @property
    def proven(self) -> bool:
        """True if the C ran on the core or on one whose instructions it executes."""
        return self.ran_on is not None


def claim_of(core: str, comparisons: Iterable[Comparison]) -> Claim:
    """Return what comparisons show for a core.

    Args:
        core: The core of the device, as its profile names it.
        comparisons: The back-ends.
    """
    if not core:
        return Claim(
            core="", ran_on=None, says="which core the device has is not recorded; verify again"
        )
    known = stand_in(core)
    if known is None:
        text = (
            f"its core, {title(core)}, ran nowhere: no emulator here has it, and no C was compiled "
            "for it"
        )
        return Claim(core=core, ran_on=None, says=text)
    emulated = title(known)
    found = next((one for one in comparisons if one.backend == emulated), None)
    if found is None:
        return Claim(
            core=core,
            ran_on=None,
            says=f"its core, {title(core)}, was not run: {emulated} was not asked for",
        )
    if found.verdict is not Verdict.EQUAL:
        why = found.note if found.verdict is Verdict.SKIPPED else f"{emulated} {found.verdict}"
        return Claim(core=core, ran_on=None, says=f"its core, {title(core)}, was not run: {why}")
    shared = STANDS_FOR[_plain(core)][1]
    images = f"{found.images:,} {'image' if found.images == 1 else 'images'}"
    if shared:
        text = (
            f"for its {title(core)} the C ran on an emulated {emulated}, {images}: {shared} code, "
            f"which a {title(core)} executes"
        )
    else:
        text = f"its own core, {emulated}, ran emulated, {images}"
    return Claim(core=core, ran_on=emulated, says=text)
