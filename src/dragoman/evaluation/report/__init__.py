"""Runs to read at a glance: matrices, figures, tables, one HTML page, the model card. No torch."""
