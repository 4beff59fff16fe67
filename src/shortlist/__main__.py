"""`python -m shortlist`: the command line of `shortlist.cli`."""

from shortlist.cli import main

raise SystemExit(main())
