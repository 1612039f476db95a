"""The version of the package's Python files, which must be that of the native module."""

__version__ = "0.1.0"
