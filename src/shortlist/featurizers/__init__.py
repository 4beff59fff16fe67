"""Corpus to vectors: one class and one YAML per way of doing it."""
