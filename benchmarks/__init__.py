"""Known values and speed, each shown by a command; the figures stand in RESULTS.md."""
