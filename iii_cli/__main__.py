"""`python -m iii_cli` is `iii`."""

from iii_cli.cli import main

if __name__ == "__main__":
    main()
