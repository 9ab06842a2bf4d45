"""`python -m iii_cli` is `iii`."""

from iii_cli.app import main

if __name__ == "__main__":
    main()
