"""What production is watched by: checks and how they add up, metrics and their limits. Pure: facts in, verdicts out."""
