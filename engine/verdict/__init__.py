"""The verdict: the race on the holdout, its statistics, and what they are read from."""
