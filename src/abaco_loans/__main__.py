"""``python -m abaco_loans``: the command ``abaco``."""

from abaco_loans.cli import main

if __name__ == "__main__":
    main()
