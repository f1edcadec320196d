"""Side by side, two processes at most run files that open the page in a browser.

A page that is open takes 0.3 of a core while it shows nothing new: it asks and draws twice a
second. Six of them leave two cores nothing to get on with, and each of them waits the longer.
"""

from xdist.scheduler import LoadFileScheduling

MOST = 2


class BrowsersInTurn(LoadFileScheduling):
    """File by file in their order, except that a file with a browser may have to wait."""

    def _assign_work_unit(self, node):
        others = [units for other, units in self.assigned_work.items() if other is not node]
        if sum(map(_has_browser, others)) >= MOST:
            scope = next((one for one in self.workqueue if not _opens_browser(one)), None)
            if scope is not None:
                self.workqueue.move_to_end(scope, last=False)
        super()._assign_work_unit(node)


def _has_browser(units):
    """Whether one of them is not done yet."""
    return any(_opens_browser(one) and not all(done.values()) for one, done in units.items())


def _opens_browser(path):
    return path.startswith("tests/app/page/") or path.endswith("_in_a_browser.py")
