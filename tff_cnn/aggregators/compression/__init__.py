"""Codecs: what clients may send in the place of their updates."""
