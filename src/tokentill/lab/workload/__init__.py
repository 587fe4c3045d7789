"""The workload: a stream of random commands for one account that reaches every operation and every refusal.

It sees replies only, as a client does, so it drives anything that answers envelopes: the rules alone, either
store, a server. Chance comes in as `Dice`, so a seed repeats a run, and a `Step` says everything that is to
be sent, so that a failing run can be cut down step by step.
"""

from tokentill.lab.workload.outcomes import OUTCOMES, Coverage
from tokentill.lab.workload.stream import Step, Workload

__all__ = ["OUTCOMES", "Coverage", "Step", "Workload"]
