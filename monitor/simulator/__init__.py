"""A made-up LearnWorlds school behind the real wire format: the peer of the demo and of the tests."""

from monitor.simulator.faults import Fault, Faults
from monitor.simulator.school import School
from monitor.simulator.server import SchoolServer
from monitor.simulator.staff import STAFF_STORY, Staff
from monitor.simulator.story import SMALLEST, STORY, Expected, Step
from monitor.simulator.truto import TrutoServer

__all__ = [
    "SMALLEST", "STAFF_STORY", "STORY", "Expected", "Fault", "Faults", "School", "SchoolServer", "Staff", "Step",
    "TrutoServer",
]  # fmt: skip
