"""Where alerts go: a file a channel. What is sent is made by pure functions; `http` alone posts, `address` alone dials.

A message goes out at least once. The process may die after the receiver took it and before that was recorded; then it
goes out again under the same key (`Notice.key`): as ``dedup_key`` (the alert), ``Idempotency-Key`` or ``Message-ID``.
"""
