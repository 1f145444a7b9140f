"""The product in a notebook: ``read_tape``, ``panel``, ``views``. The numbers are those of `abaco panel`, `abaco view`.

Every result is a :class:`Table`, which hands its rows over through the Arrow C stream interface: pandas, polars and
Arrow read it, and none of them is imported here, or needed.
"""

from abaco_loans.notebook.book import Panel, panel, views
from abaco_loans.notebook.table import Table
from abaco_loans.notebook.tape import Tape, read_tape

__all__ = ["Panel", "Table", "Tape", "panel", "read_tape", "views"]
