"""Ways to make a fine-tuned classifier smaller; each a class and a YAML of conf/compress."""
