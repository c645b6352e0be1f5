"""Measures what each part of a recipe gains, by the same run without it: same start, same images."""
