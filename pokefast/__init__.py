"""Training scripts for image competitions.

Importing it sets how long threads of a parallel loop wait for each other in a busy loop, before
torch reads it: by their runtimes' defaults they take the cores that other processes, or other
threads of the same one, need. On a machine with nothing else to do nothing is lost.
"""

import os
import sys

# a thousand turns are microseconds (libgomp); a millisecond (LLVM's and Intel's runtime)
_WAITING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "1"}

if "torch" not in sys.modules and not {*_WAITING, "OMP_WAIT_POLICY"} & {*os.environ}:
    os.environ.update(_WAITING)
