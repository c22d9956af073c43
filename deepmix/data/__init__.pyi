from . import downloads as downloads
from .arrange import (
    arrange_rows as arrange_rows,
    channels_first_cure as channels_first_cure,
    is_channels_first as is_channels_first,
)
from .arrange_table import (
    arrange_table as arrange_table,
    encode_table as encode_table,
    has_gaps as has_gaps,
    numbered_frame as numbered_frame,
    rows_of_cells as rows_of_cells,
)
from .batches import Rows as Rows, RowTensors as RowTensors
from .block_share import ONE_READER as ONE_READER, WHOLE as WHOLE, BlockShare as BlockShare, Readers as Readers
from .checks import (
    as_table as as_table,
    check_labels as check_labels,
    column_namer as column_namer,
    value_range as value_range,
)
from .column_schema import (
    OTHER as OTHER,
    CellBlock as CellBlock,
    ColumnSchema as ColumnSchema,
    Kind as Kind,
)
from .columns_file import read_table_options as read_table_options, schema_toml as schema_toml
from .dates import texts_of_dates as texts_of_dates
from .downloads import Collection as Collection, RemoteFile as RemoteFile, obtain as obtain
from .files import SUFFIXES as SUFFIXES, load_file as load_file, open_blocks as open_blocks
from .foreign_frames import (
    as_pandas as as_pandas,
    is_frame as is_frame,
    refuse_infinite as refuse_infinite,
)
from .frame_arrays import (
    frame_labels as frame_labels,
    frame_to_array as frame_to_array,
    has_column_names as has_column_names,
    label_position as label_position,
)
from .frames import (
    count_values as count_values,
    first_row as first_row,
    is_table_file as is_table_file,
    open_frames as open_frames,
    read_frame as read_frame,
)
from .labels import (
    known_labels as known_labels,
    revealed_labels as revealed_labels,
    with_known_labels as with_known_labels,
)
from .narrow import MOST_COLUMNS as MOST_COLUMNS, narrow as narrow
from .neighbours import NearestRows as NearestRows
from .preparation import BYTE_RANGE as BYTE_RANGE, Preparation as Preparation
from .prepared import find_prepared as find_prepared, load_prepared as load_prepared
from .row_numbers import numbers_within as numbers_within
from .row_set import RowSet as RowSet
from .sample import sample_rows as sample_rows
from .schema import TableSchema as TableSchema
from .schema_inference import infer_schema as infer_schema
from .sparse_checks import check_sparse as check_sparse
from .split import Split as Split, fingerprint as fingerprint, labels_fingerprint as labels_fingerprint
from .split_options import SplitOptions as SplitOptions
from .spreadsheet import spreadsheet_safe as spreadsheet_safe
from .stored_matrix import is_sparse_group as is_sparse_group, stored_matrix as stored_matrix
from .stored_rows import StoredRows as StoredRows
from .stored_table import arrange_stored_table as arrange_stored_table
from .strata import stratified_rows as stratified_rows, take_stratified as take_stratified
from .table_file import LabelColumn as LabelColumn, block_rows as block_rows
from .table_options import ColumnOptions as ColumnOptions, TableOptions as TableOptions
from .whole_files import (
    PART as PART,
    naming_file as naming_file,
    write_atomically as write_atomically,
    writing_beside as writing_beside,
)
