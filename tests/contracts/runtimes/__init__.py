"""Computations that every runtime must run, and what they share.

`algorithms`, `aggregators`, `computations`, `resources` and `values` register
cases; each is a function () -> nested arrays, called with the runtime open.
"""
