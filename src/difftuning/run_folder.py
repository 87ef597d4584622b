"""The run folder: what lies where.

RUN/  .lock  recipe.yaml  provenance.json  set-aside.txt  bank/  checkpoints/  model/  tuner/  samples/  metrics.jsonl  end.json
costs.json  results.json  report.html
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from difftuning.errors import CheckpointError
from difftuning.lock import alone


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where everything about one run lies, below `path`."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe that the run was made from."""
        return self.path / "recipe.yaml"

    @property
    def provenance(self) -> Path:
        """Versions, machine and commit at the start of the run."""
        return self.path / "provenance.json"

    @property
    def bank(self) -> Path:
        """The knowledge bank, when the run drew its own."""
        return self.path / "bank"

    @property
    def end(self) -> Path:
        """The step that a finished run ended with, and the digests of its average and of what it was trained on."""
        return self.path / "end.json"

    @property
    def set_aside(self) -> Path:
        """Files of the target that are not used and why, one a line; missing where there are none."""
        return self.path / "set-aside.txt"

    @property
    def checkpoints(self) -> Path:
        """One folder a checkpoint."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The averaged model as a folder that plain diffusers loads; missing where its tuner cannot be folded into it."""
        return self.path / "model"

    @property
    def tuner(self) -> Path:
        """What was learned beside the pretrained model; missing where all of it was tuned."""
        return self.path / "tuner"

    @property
    def samples(self) -> Path:
        """Images drawn during and after training."""
        return self.path / "samples"

    @property
    def metrics(self) -> Path:
        """What was logged during training, one JSON record a line."""
        return self.path / "metrics.jsonl"

    @property
    def costs(self) -> Path:
        """What drawing the bank, judging and diagnosing took, in seconds."""
        return self.path / "costs.json"

    @property
    def results(self) -> Path:
        """The result rows."""
        return self.path / "results.json"

    @property
    def report(self) -> Path:
        """The page with all tables and pictures."""
        return self.path / "report.html"

    def make(self) -> RunFolder:
        """Make the folder where it is missing.

        Raises:
            CheckpointError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as reason:
            raise CheckpointError(
                f"the run folder {self.path} cannot be made ({reason}); choose another `out`"
            ) from reason
        return self

    def alone(self) -> AbstractContextManager[None]:
        """Held by whoever writes into the folder.

        Raises:
            BusyError: another process does.
            StorageError: the folder cannot be made or written to.
        """
        return alone(self.path / ".lock", wait=False)

    def require(self) -> RunFolder:
        """The same folder, once it is sure that a run is in it.

        Raises:
            CheckpointError: there is no such folder, or no recipe.yaml in it.
        """
        if not self.path.is_dir():
            raise CheckpointError(f"there is no run folder {self.path}; `difftuning train` makes one")
        if not self.recipe.is_file():
            raise CheckpointError(
                f"{self.path} has no recipe.yaml, so it is not a run folder; name the `out` of a recipe"
            )
        return self
