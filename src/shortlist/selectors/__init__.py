"""Which documents: one class and one YAML per method."""
