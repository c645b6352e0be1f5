"""What comes after training: comparison, report, picture."""
