"""Where tapes come from: files are copied to a private place, hashed, recognised and made plain."""
