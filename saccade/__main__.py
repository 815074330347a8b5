"""`python -m saccade` is the command line."""

from saccade.cli.main import main

main()
