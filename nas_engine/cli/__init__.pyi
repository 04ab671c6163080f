"""Names of the package, one per line."""

from nas_engine.cli.command import Explained as Explained
from nas_engine.cli.main import cli as cli
from nas_engine.cli.progress import Screen as Screen
