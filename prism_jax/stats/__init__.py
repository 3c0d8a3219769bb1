"""Statistics: intervals, bootstraps, tests and effects as functions of arrays."""
