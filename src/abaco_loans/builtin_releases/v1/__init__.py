"""The old report: a program that is called, ``release.yml`` saying how. This file is not copied."""
