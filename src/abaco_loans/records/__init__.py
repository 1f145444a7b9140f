"""Runs, KPI history and the audit ledger.

All of it is light to import; SQLAlchemy and Alembic (0.5 s) are imported to migrate a database, and then only.
"""
