"""From many runs to a verdict: statistics, measures of a run, claims."""
