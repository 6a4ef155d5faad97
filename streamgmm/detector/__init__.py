"""Frozen values: what scores a row and what explains it. Nothing here changes after it was made."""
