"""What goes with what: in a data set (the survey), and in a model's edits. Statistics are functions of arrays."""
