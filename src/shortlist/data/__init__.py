"""From files to corpora: readers, sources, pools, splits, and what must not overlap."""
