from . import downloads as downloads
from .arrange import arrange_rows as arrange_rows
from .batches import Rows as Rows
from .checks import as_table as as_table, column_namer as column_namer, value_range as value_range
from .downloads import Collection as Collection, RemoteFile as RemoteFile, obtain as obtain
from .files import SUFFIXES as SUFFIXES, load_file as load_file, open_blocks as open_blocks
from .labels import (
    known_labels as known_labels,
    revealed_labels as revealed_labels,
    with_known_labels as with_known_labels,
)
from .preparation import BYTE_RANGE as BYTE_RANGE, Preparation as Preparation
from .prepared import find_prepared as find_prepared, load_prepared as load_prepared
from .sparse_checks import check_sparse as check_sparse
from .split import Split as Split, fingerprint as fingerprint
from .split_options import SplitOptions as SplitOptions
from .whole_files import PART as PART, write_atomically as write_atomically, writing_beside as writing_beside
