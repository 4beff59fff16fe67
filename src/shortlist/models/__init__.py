"""Pre-trained models by name: where their files are, which bytes they are, how they are opened."""
