"""Toxicity scorers: one class and one YAML each."""
