"""Names of the package, one per line."""

from nas_engine.datasets.class_names import check_classes as check_classes
from nas_engine.datasets.class_names import matched_classes as matched_classes
from nas_engine.datasets.errors import DatasetError as DatasetError
from nas_engine.datasets.errors import MissingPackageError as MissingPackageError
from nas_engine.datasets.formats import FORMATS as FORMATS
from nas_engine.datasets.formats import Format as Format
from nas_engine.datasets.formats import format_name as format_name
from nas_engine.datasets.formats import open_dataset as open_dataset
from nas_engine.datasets.formats import open_judged as open_judged
from nas_engine.datasets.formats import place_of as place_of
from nas_engine.datasets.records import Dataset as Dataset
from nas_engine.datasets.records import Judged as Judged
from nas_engine.datasets.records import SkippedFile as SkippedFile
from nas_engine.datasets.records import Split as Split
from nas_engine.datasets.summary import summary_lines as summary_lines
