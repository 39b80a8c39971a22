"""One measured figure, and the goal that it is to meet."""

import dataclasses


@dataclasses.dataclass
class Figure:
    what: str
    value: float
    unit: str
    goal: float = 0.0
    compare: str = ""  # "<=" or ">=", "" = no goal

    def met(self):
        return {"": None, "<=": self.value <= self.goal, ">=": self.value >= self.goal}[self.compare]
