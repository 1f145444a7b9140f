#!/usr/bin/env python3
"""What `abaco validate` does, under the name that playbooks call: ``python scripts/production_validation.py``."""

from __future__ import annotations

import sys

from abaco_loans.cli import main

if __name__ == "__main__":
    main(["validate", *sys.argv[1:]])
