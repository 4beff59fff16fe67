"""Compiled loops over text: hash functions, words, n-grams, SHA-256."""
