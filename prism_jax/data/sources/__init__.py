"""Sources of data sets: one module per source, and the code that builds from them."""
