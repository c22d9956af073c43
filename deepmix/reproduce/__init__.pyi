from .published import (
    Cell as Cell,
    Protocol as Protocol,
    Table as Table,
    load_table as load_table,
    load_tables as load_tables,
    select as select,
)
from .tables import Request as Request, reproduce as reproduce
