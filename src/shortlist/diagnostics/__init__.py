"""What explains one selection."""
