"""Formats of data files, each read by a package that is installed as an extra."""
