"""The datasheet of one selection, as an HTML page and as Markdown."""
