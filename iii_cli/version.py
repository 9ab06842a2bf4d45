"""The version of this program and library."""

__all__ = ("__version__",)

__version__ = "0.1.0"
