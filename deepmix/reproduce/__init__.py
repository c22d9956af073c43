"""The papers' tables and figures beside ours: their numbers as data (`papers/`), our cells as run folders."""

from deepmix.reproduce.book import Cell, Protocol, Table, load_table, load_tables, select
from deepmix.reproduce.table import Request, reproduce

__all__ = ["Cell", "Protocol", "Request", "Table", "load_table", "load_tables", "reproduce", "select"]
