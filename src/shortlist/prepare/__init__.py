"""Data preparation: operations that edit texts or drop documents, one class and one YAML each."""
