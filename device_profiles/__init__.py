"""Microcontrollers: budgets, bit widths and cycle estimates, one YAML file per board."""

from device_profiles.loader import device_names, load_device, shipped_name
from device_profiles.profile import BITS, LAYER_KINDS, DeviceProfile, PairSupport
from device_profiles.timing import CyclesPerInstruction, PublishedCycles

__all__ = [
    "BITS",
    "LAYER_KINDS",
    "CyclesPerInstruction",
    "DeviceProfile",
    "PairSupport",
    "PublishedCycles",
    "device_names",
    "load_device",
    "shipped_name",
]
