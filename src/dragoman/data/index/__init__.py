"""Manifests as columns of numbers, and the choice of rows by them.

manifest_index   ManifestIndex, open_index
building         one pass over a manifest
selection, caps  which rows a stage learns from
"""

from dragoman.data.index.manifest_index import ManifestIndex, open_index

__all__ = ["ManifestIndex", "open_index"]
