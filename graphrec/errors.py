"""Every error graphrec raises on purpose, in one tree.

GraphrecError
├── ConfigError            graphrec.toml, an environment variable or an option is not understood
├── DependencyError        an optional package is missing, or two that exclude each other are installed
├── InputError             a file or table cannot be read as events or items at all
├── StoreError             the event store cannot be opened or written
├── WorkspaceError         the directory is not a workspace, or already is one
│   └── GenerationError    a generation is damaged or cannot be published
│       └── BusyError      another process is making one just now
├── BackupError            a backup cannot be written, or is none, or is damaged
├── JobError               a scheduled job has failed, or was abandoned
├── ModelError             text encoder weights cannot be found or loaded
├── NotTrainedError        an answer needs a trained generation and there is none yet
└── UnknownItemError       an item id that no event and no catalogue row has named

A single bad row is not an error: it goes to the quarantine and is counted.
"""

from __future__ import annotations


class GraphrecError(Exception):
    """What went wrong, what was expected, what came, and the way out.

    The command line prints the four parts on lines of their own; `str(error)` joins them the same way, so that a
    traceback reads as well as a terminal.
    """

    def __init__(
        self, problem: str, *, expected: str | None = None, got: str | None = None, way_out: str | None = None
    ) -> None:
        self.problem = problem
        self.expected = expected
        self.got = got
        self.way_out = way_out
        parts = [problem]
        if expected is not None:
            parts.append(f"  expected: {expected}")
        if got is not None:
            parts.append(f"  got:      {got}")
        if way_out is not None:
            parts.append(f"  way out:  {way_out}")
        super().__init__("\n".join(parts))


class ConfigError(GraphrecError):
    """A setting, an environment variable or an option is not understood."""


class DependencyError(GraphrecError):
    """An optional package is missing, or two packages that exclude each other are installed."""


class InputError(GraphrecError):
    """A file or table cannot be read as events or items at all."""


class StoreError(GraphrecError):
    """The event store cannot be opened or written."""


class WorkspaceError(GraphrecError):
    """The directory is not a workspace, or already is one."""


class GenerationError(WorkspaceError):
    """A generation is damaged or cannot be published."""


class BusyError(GenerationError):
    """Another process, or thread, is making a generation of this workspace just now."""


class BackupError(GraphrecError):
    """A backup cannot be written, or a file is none or a damaged one."""


class JobError(GraphrecError):
    """A scheduled job has failed, or was abandoned; the live generation is as it was."""


class ModelError(GraphrecError):
    """The text encoder's weights cannot be found or loaded."""


class NotTrainedError(GraphrecError):
    """The answer needs a trained generation and the workspace has none yet."""


class UnknownItemError(GraphrecError):
    """No event and no catalogue row has named this item."""
