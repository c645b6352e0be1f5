"""Checks a whole run before it starts."""
