"""A believable synthetic loan book, the same for the same seed: what `abaco sample` and the demo write."""

from abaco_loans.sample.dirt import DirtKind, DirtyRow
from abaco_loans.sample.spec import SampleSpec

__all__ = ["DirtKind", "DirtyRow", "SampleSpec"]
