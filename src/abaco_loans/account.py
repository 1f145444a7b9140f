"""Who acts: the account of the operating system that this process runs as, whatever the environment says."""

from __future__ import annotations

import os
import pwd


def account() -> str:
    """The name of the account; ``uid N`` where it has none, as in many containers."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
