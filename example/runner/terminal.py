"""What the demo says: bars that move on a terminal, plain lines anywhere else."""

import shutil
import sys

BAR_WIDTH = 24


class Bars:
    """A line with a bar for each kind of work."""

    def __init__(self, output=sys.stdout):
        self.output = output
        self.shown = []

    def show(self, kinds):
        """Show the kinds: in place on a terminal, else only those that have come a quarter further."""
        if self.output.isatty():
            self.redraw(kinds)
        else:
            self.print_new(kinds)

    def redraw(self, kinds):
        up = f"\x1b[{len(self.shown)}A" if self.shown else ""
        # A line that wraps would be two lines to go back over.
        width = shutil.get_terminal_size().columns - 1
        self.shown = [line(kind)[:width] for kind in kinds]
        self.output.write(up + "".join(f"\x1b[2K{text}\n" for text in self.shown))
        self.output.flush()

    def print_new(self, kinds):
        for kind in kinds:
            quarter = (kind.name, kind.percent // 25)
            if kind.done and quarter not in self.shown:
                self.shown.append(quarter)
                print(line(kind), file=self.output, flush=True)


def line(kind):
    filled = BAR_WIDTH * kind.percent // 100
    bar = "█" * filled + "·" * (BAR_WIDTH - filled)
    return f"  {kind.name:<11}{bar} {kind.done:>7,} of {kind.total:,}  ({kind.note})"


def print_table(rows):
    """Print rows of (name, value, remark) in columns."""
    for name, value, remark in rows:
        print(f"  {name:<20}{value:>9}  {remark}")
