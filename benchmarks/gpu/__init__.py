"""What a card does and how near to its own ceilings: `scripts/gpu-check`, on a machine with one."""
