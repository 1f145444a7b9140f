"""Where results go: published all or nothing, sealed by hashes, never changed afterwards."""
