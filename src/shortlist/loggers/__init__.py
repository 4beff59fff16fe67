"""Where cells and tables are reported to besides the records: CSV files, Weights & Biases."""
