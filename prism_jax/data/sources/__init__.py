"""One module per data set that can be built, and what they share."""
