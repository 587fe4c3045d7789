"""The naive model: what an account must do, written a second time, slowly and plainly.

It follows the requirements, the readings and the words of the commands, and shares no code with the rules
that decide and evolve (it reads catalog values and the command structs, nothing more). It keeps plain lists
of lots, holds, charges and events, and works out every figure again by scanning them. Nothing is cached, so
there is nothing to go stale: where the till and this model disagree, one of them is wrong.

`Naive.submit` answers a command with an `Answer`: a refusal code, or the figures of the receipt.

Requirement ids: R-LED-1, R-LED-2, R-LED-3, R-LED-7, R-LED-8, R-LED-9, R-PLAN-4, R-PLAN-5, R-PLAN-6, R-ABU-1,
R-ABU-2, R-ABU-3, R-ABU-6, R-LIC-1, R-LIC-2, R-LIC-3, R-LIC-5.
"""

from tokentill.lab.naive.model import Naive
from tokentill.lab.naive.notebook import Answer

__all__ = ["Answer", "Naive"]
