"""`python -m promotion.cli`: the same as the command `promotion`."""

from promotion.cli import main

raise SystemExit(main())
