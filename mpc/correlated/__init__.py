"""Randomness that parties hold without having sent it: common keys, and items made by a source.

- `replicated`: keys that pairs of three parties hold
- `items`: what additive sharing needs for each of its steps, and how it is made
- `descriptions`: items as lines of JSON, and how they are read
- `carries`: a carry tree of four neighbours at a time, for such an item
- `seeded`: items whose masks come from one seed a party, and who makes the rest
"""
