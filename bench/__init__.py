"""The numbers of docs/performance.md, measured: ``python -m bench`` (or ``make bench``)."""
