"""What radmpc costs: shared workloads, timed and metered, on ranks of their own."""
