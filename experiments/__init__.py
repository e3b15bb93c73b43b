"""Binaries: flags exist only here."""
