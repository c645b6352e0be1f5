"""What several rooms share and no library has."""
