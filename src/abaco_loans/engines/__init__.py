"""Engines run the queries that the pure rooms build; each engine is confined to its own module."""
