"""The report's experiments and ours: rows of options, run by the tasks' own scripts."""
