"""Training programs: one file per program, one shared loop (`train.loop`)."""
