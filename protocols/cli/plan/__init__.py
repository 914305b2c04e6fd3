"""`radmpc plan`: what a job will cost, before it is run."""

from protocols.cli.plan.items import planned_items

__all__ = ["planned_items"]
