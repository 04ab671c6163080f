"""Search spaces: which networks a search may visit. YAML files, one space each."""

from search_spaces.loader import load_space, space_names
from search_spaces.space import BIT_RANGE, ChannelRange, SearchSpace, StageSpace

__all__ = ["BIT_RANGE", "ChannelRange", "SearchSpace", "StageSpace", "load_space", "space_names"]
