"""The page of one selection: what was chosen, for whom, by which proof, at which cost."""
