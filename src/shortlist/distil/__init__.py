"""Scorers that are learned from the scores of a method and run without its model."""
