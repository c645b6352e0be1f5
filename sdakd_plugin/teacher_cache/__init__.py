"""Stores the teacher's images of a training set, so that they are computed only once."""
