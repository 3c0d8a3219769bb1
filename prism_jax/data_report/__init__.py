"""The report on a built data set: counts, associations, duplicates, burned-in text."""
