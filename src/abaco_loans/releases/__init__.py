"""Releases: what changes together, and what proves that nothing else did. Pure."""
