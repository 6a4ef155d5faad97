"""Detectors without a stream: fitted from history, opened from a snapshot, sampled, exchanged as plain arrays."""
