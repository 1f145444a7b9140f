"""Releases that `abaco init` copies into a new workspace beside the product's own: one folder each."""
