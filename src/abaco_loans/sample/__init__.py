"""A believable synthetic loan book, the same bytes for the same seed: ``abaco sample`` and the demo."""

from abaco_loans.sample.dirt import DirtKind, DirtyRow
from abaco_loans.sample.spec import SampleSpec
from abaco_loans.sample.writer import SampleSummary, write_sample

__all__ = ["DirtKind", "DirtyRow", "SampleSpec", "SampleSummary", "write_sample"]
