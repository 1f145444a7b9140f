"""Schema revisions, oldest first. A new file in ``versions/`` is also a new last entry here.

The list stands here so that opening a current database needs neither Alembic nor the files.
"""

REVISIONS: tuple[str, ...] = ("0001", "0002", "0003", "0004", "0005")
HEAD = REVISIONS[-1]
