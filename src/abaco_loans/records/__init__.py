"""Runs, KPI history and the audit ledger.

``runs``, ``ledger``, ``anchors`` and ``locks`` are light; ``store`` imports SQLAlchemy (190 ms): import it
only where records are needed.
"""
