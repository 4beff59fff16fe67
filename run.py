"""Entry point: runs one cell, or with -m a sweep. `python run.py --help` lists the options."""

from shortlist.pipeline.hydra_app import main

if __name__ == "__main__":
    main()
