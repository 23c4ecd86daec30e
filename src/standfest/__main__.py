"""`python -m standfest`: the command line."""

from standfest.cli.main import main

main()
