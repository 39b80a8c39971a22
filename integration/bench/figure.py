"""One measured figure, and the goal that it is to meet."""

import dataclasses


@dataclasses.dataclass
class Figure:
    what: str
    value: float
    unit: str
    goal: float = 0.0
    compare: str = ""  # "<=" or ">=", "" = no goal
    bound: float = 0.0  # better it cannot be on the machine of the run; 0 = not known

    def met(self):
        return {"": None, "<=": self.value <= self.goal, ">=": self.value >= self.goal}[self.compare]

    def record(self):
        """As it is kept."""
        return {**dataclasses.asdict(self), "met": self.met()}

    def line(self):
        goal = f"{self.compare} {self.goal:g}" if self.compare else ""
        bound = f"bound {self.bound:.3g}" if self.bound else ""
        verdict = {None: "", True: "met", False: "MISSED"}[self.met()]
        return f"{self.what:<56} {self.value:>12.3f} {self.unit:<4} {goal:>10} {bound:>11}  {verdict}".rstrip()


def exit_code(figures):
    return 1 if any(figure.met() is False for figure in figures) else 0


def show(title, figures):
    print(f"\n{title}")
    for figure in figures:
        print(f"  {figure.line()}", flush=True)
