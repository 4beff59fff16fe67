"""Which documents should a pre-trained model read before it is fine-tuned?

Importing the package prepares the process and nothing else: the settings below only work when they
are in the environment before torch starts its threads, so they stand here, before any other import.
"""

import os

# With a second job on the cores, OpenMP threads that spin at a barrier stall small operations about
# 35-fold (measured: logsumexp of 1,000 x 1,000 takes 40 ms instead of 1.1 ms). Sleeping threads do
# not.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# The tokenizer's own threads deadlock after a fork (data-loader workers) and fight torch's for the
# cores.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

__version__ = "0.1.0"
