"""Abaco Loans: loan-tape KPIs with proof, and pipelines that can be replaced safely."""

__version__ = "0.1.0"
