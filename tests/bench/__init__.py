"""`make bench`: what an exchange costs, as ratios within one run."""
