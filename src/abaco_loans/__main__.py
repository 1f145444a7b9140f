"""``python -m abaco_loans``: the command ``abaco``."""

from abaco_loans.cli import run

if __name__ == "__main__":
    run()
