"""Training of X-ray classifiers."""
