"""The vocabulary that every other package speaks. Imports nothing heavy."""
