"""State dicts of unknown origin: read strictly, refused in one line that shows what came."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from nas_engine.errors import InputError, shortened


def without_prefix(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict without the key prefix ``module.`` of data-parallel training."""
    return {str(key).removeprefix("module."): value for key, value in state_dict.items()}


def unknown_state(state: Mapping[str, object], expected: str) -> InputError:
    """Return the error for a state dict of another network than ``expected``."""
    keys = ", ".join(f"'{shortened(key, 40)}'" for key in list(state)[:3])
    found = f"{len(state)} keys: {keys}{' ...' if len(state) > 3 else ''}" if state else "no keys"
    return InputError(
        f"the state dict of an unknown network ({found}); expected that of {expected}"
    )


def load_into(network: nn.Module, state: Mapping[str, Tensor], expected: str) -> None:
    """Put a state dict into a network.

    Raises:
        InputError: It is of another network.
    """
    try:
        network.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:
        raise unknown_state(state, expected) from error
