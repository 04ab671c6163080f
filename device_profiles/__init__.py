"""Microcontrollers: budgets, bit widths and cycle estimates, one YAML file per board."""

from device_profiles.loader import device_names, load_device, shipped_name
from device_profiles.profile import BITS, LAYER_KINDS, DeviceProfile, PairSupport
from device_profiles.timing import CyclesPerInstruction, DefaultLatency, PublishedCycles

__all__ = [
    "BITS",
    "LAYER_KINDS",
    "CyclesPerInstruction",
    "DefaultLatency",
    "DeviceProfile",
    "PairSupport",
    "PublishedCycles",
    "device_names",
    "load_device",
    "shipped_name",
]
