"""Diagnostics of one selection, as pure functions from values to frozen values.

The stages that compute and store them are in `shortlist.pipeline.diagnostics`.
"""
