"""Other toolkits on the same workloads, each in its own environment, beside ours in one sitting."""
