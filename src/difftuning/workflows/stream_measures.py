"""Every model of a stream on every phase and on all phases so far, and its banks against the first one; each measured once.

A number is kept under the digests of all that decides it, so a stopped run goes on, and a phase that is added later costs only
what is new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path

from torch import Tensor

from difftuning.backbones.base import Backbone
from difftuning.bank.card import CARD
from difftuning.bank.read import Bank
from difftuning.continual.measures import Matrix, Measured
from difftuning.data.target import Target, join
from difftuning.evaluation.features import FeatureNetwork, feature_network
from difftuning.evaluation.fidelity import Reference, frechet, kid
from difftuning.json_files import read_json, write_json
from difftuning.workflows.display import Display
from difftuning.workflows.drawing import images_of, spread
from difftuning.workflows.heldout import known_rows, target_heldout
from difftuning.workflows.judge import Judge
from difftuning.workflows.pretrained import pretrained
from difftuning.workflows.recipe import Recipe
from difftuning.workflows.runs import model_of

Values = dict[str, float]
"""Metric to number."""
Places = tuple[int, ...]
"""Phases that are judged together, counted from 1."""
FIRST = "first bank"
"""What else a bank is compared with."""


class StreamMeasures:
    """Measures a stream whose phases are trained.

    Args:
        folder: where numbers are kept.
        names: of the phases.
        recipes: of the phases; the first one says how all are sampled and judged.
        targets: the images of each phase alone.
        display: shows progress.
        alone: whether distances are measured on each phase alone too.
    """

    def __init__(
        self,
        folder: Path,
        names: tuple[str, ...],
        recipes: list[Recipe],
        targets: list[Target],
        display: Display,
        alone: bool = True,
    ) -> None:
        self._folder, self._names, self._recipes, self._targets = folder, names, recipes, targets
        self._display, self._alone = display, alone
        # One model in memory. A judge has a feature network of its own, so it is made where something is to be judged.
        self._model = lru_cache(maxsize=1)(self._load)
        self._digest = cache(lambda after: self._model(after).digest())
        # Those of all phases so far hold a copy of all their latents.
        self._target = lru_cache(maxsize=2)(self._together)
        self._judge = lru_cache(maxsize=2)(lambda places: Judge(self._recipes[0], self._target(places)))

    def all(self) -> Measured:
        """Measure what is not measured yet."""
        count = len(self._names)
        found: dict[str, dict[tuple[int, int], float]] = {"heldout": {}}
        cumulative = []
        with self._display.progress("measures", count + 1) as task:
            for after in range(count + 1):
                for on in range(1, count + 1):
                    found["heldout"][after, on] = self._heldout(after, (on,))
                for on in range(1, after + 1) if self._alone else ():
                    for metric, value in self._distances(after, (on,)).items():
                        found.setdefault(metric, {})[after, on] = value
                if so_far := tuple(range(1, after + 1)):
                    cumulative.append({"heldout": self._heldout(after, so_far), **self._distances(after, so_far)})
                task.advance()
        matrices = {metric: Matrix.of(self._names, values) for metric, values in found.items()}
        network, samples = self._network.name, self._recipes[0].evaluation.samples
        return Measured(self._names, network, samples, matrices, cumulative, self._banks())

    @cached_property
    def _network(self) -> FeatureNetwork:
        """What all distances are measured by."""
        return feature_network(self._recipes[0].evaluation.network, self._recipes[0].evaluation.weights)

    @cached_property
    def _seen_by(self) -> str:
        """The digest of that: a module or a file of weights may be another one under the same name."""
        return self._network.digest()

    @cached_property
    def _before(self) -> Backbone:
        """The pretrained model."""
        return pretrained(self._recipes[0])

    def _load(self, after: int) -> Backbone:
        return model_of(self._recipes[after - 1]).to(self._before.device) if after else self._before

    def _together(self, places: Places) -> Target:
        """The images of some phases, split as they are alone."""
        parts = [self._targets[place - 1] for place in places]
        return join(parts) if len(parts) > 1 else parts[0]

    def _once(self, decides: Sequence[str], measure: Callable[[], Values]) -> Values:
        """What is measured where all of this decides it."""
        file = self._folder / f"{hashlib.sha256('/'.join(decides).encode()).hexdigest()[:32]}.json"
        if not file.is_file():
            write_json(file, measure())
        found: Values = read_json(file)
        return found

    def _heldout(self, after: int, places: Places) -> float:
        """The mean held-out error of the model after a phase; a class that it does not know is asked under none."""
        target, draws = self._target(places), self._recipes[0].evaluation.heldout_draws

        def measure() -> Values:
            model = self._model(after)
            rows = known_rows(model, target.class_names)
            return {"heldout": target_heldout(target.heldout, rows, model, self._recipes[0]).curve(model).mean}

        return self._once(["heldout", self._digest(after), target.heldout.digest, str(draws)], measure)["heldout"]

    def _distances(self, after: int, places: Places) -> Values:
        """The distances of samples of the model after a phase from held-out images, the classes in their proportions."""
        target, recipe = self._target(places), self._recipes[0]
        ways = [part.model_dump_json(exclude_none=True) for part in (recipe.sampling, recipe.evaluation)]

        def measure() -> Values:
            model, judge = self._model(after), self._judge(places)
            rows = known_rows(model, target.class_names)
            return judge.distances(judge.draw(model, rows, self._display, self._before), self._display)

        decides = ["drawn", self._digest(after), target.heldout.digest, target.train.digest, self._seen_by, *ways]
        return self._once(decides, measure)

    def _banks(self) -> dict[str, dict[str, Values]]:
        """The distances of each bank from the first one and from each phase, where every phase has a bank."""
        folders = [recipe.bank_path for recipe in self._recipes]
        if not all((folder / CARD).is_file() for folder in folders):
            return {}
        banks = [Bank(folder) for folder in folders]
        # Each set of features is compared with many others.
        of_bank = cache(lambda place: self._features(banks[place]))
        of_phase = cache(lambda place: self._judge((place + 1,)).heldout.features)
        others: dict[str, tuple[str, Callable[[], Tensor]]] = {FIRST: (banks[0].digest, partial(of_bank, 0))}
        for place, (name, target) in enumerate(zip(self._names, self._targets, strict=True)):
            others[name] = target.heldout.digest, partial(of_phase, place)
        evaluation = self._recipes[0].evaluation.model_dump_json(exclude_none=True)

        def between(one: Callable[[], Tensor], other: Callable[[], Tensor]) -> Values:
            return {"frechet": frechet(one(), other()), "kid": kid(one(), other())}

        return {
            name: {
                other: self._once(
                    ["bank", bank.digest, digest, self._seen_by, evaluation],
                    partial(between, partial(of_bank, place), features),
                )
                for other, (digest, features) in others.items()
            }
            for place, (name, bank) in enumerate(zip(self._names, banks, strict=True))
        }

    def _features(self, bank: Bank) -> Tensor:
        """Of as many of its items as samples are judged, spread over it, so that its parts have their shares."""
        items = bank.get(spread(len(bank), min(self._recipes[0].evaluation.samples, len(bank))))
        return Reference.of(images_of(self._before, items), self._network).features
