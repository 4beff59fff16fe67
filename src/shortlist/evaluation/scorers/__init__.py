"""How toxic a text is: one class and one YAML per judge."""
