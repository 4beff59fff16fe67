"""Sampling of documents, paired comparison of methods, means with standard errors."""
