"""The version, said once: pyproject.toml reads it from here. Below everything, so that anything may import it."""

__version__ = "0.1.0"
