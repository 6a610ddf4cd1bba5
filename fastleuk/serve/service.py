"""What an app answers with: the runs, the queue before them, the counters."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import fastleuk
from fastleuk.data.labels.positive import meanings
from fastleuk.export.about import USE
from fastleuk.loading.images.encoded import Encoded
from fastleuk.predict.ensemble import Ensemble, Scored
from fastleuk.serve.batcher import Batcher, One
from fastleuk.serve.heat import Heat, Heats
from fastleuk.serve.images import check_image
from fastleuk.serve.limits import Budget, Limits, Refused
from fastleuk.serve.metrics import Metrics, resident_bytes
from fastleuk.serve.schema import About, Bounds, Prediction, Predictions
from fastleuk.serve.uploads import Upload


class Service:
    """Runs that answer requests.

    Args:
        ensemble: The runs.
        limits: What a request may hold.
        queue: Images that are let in at once, those being scored included; 0: one batch.
    """

    def __init__(self, ensemble: Ensemble, limits: Limits, *, queue: int = 0) -> None:
        self.ensemble, self.limits = ensemble, limits
        self.budget = Budget(limits.budget_bytes)
        self.metrics = Metrics(
            {
                "waiting_images": ("Images that wait to be scored.", lambda: self.batcher.waiting),
                "held_bytes": ("Bytes of requests in memory.", lambda: self.budget.held),
                "resident_bytes": ("Memory of the process.", resident_bytes),
            }
        )
        self.batcher = Batcher(
            self._score,
            batch_size=ensemble.batch_size,
            bound=queue or ensemble.batch_size,
            told=self.metrics.batch,
        )
        self.heats = Heats(ensemble)
        self._pool = ThreadPoolExecutor(ensemble.workers, thread_name_prefix="decode")

    def close(self) -> None:
        """End the threads; what waits is refused."""
        self.batcher.close()
        self._pool.shutdown()
        self.ensemble.close()

    def refuse_when_full(self) -> None:
        """Refuse a request before its body is received, if it would be refused then.

        Raises:
            Refused: the queue is full; 503.
        """
        if self.batcher.is_full:
            raise self.batcher.full()

    async def predict(self, uploads: Sequence[Upload]) -> Predictions:
        """Predict the images of a request.

        Raises:
            Refused: too many images wait; 503.
        """
        waiting = len(uploads)
        self.batcher.reserve(waiting)
        try:
            checked = await self._check(uploads)
            good = [image for image in checked if isinstance(image, Encoded)]
            self.batcher.release(waiting - len(good))
            waiting = 0  # from here on the batcher counts
            future = self.batcher.submit(good)
        finally:
            self.batcher.release(waiting)
        said = await asyncio.wrap_future(future)
        scored = iter(said)
        found = [One(error=each) if isinstance(each, str) else next(scored) for each in checked]
        refused = sum(bool(each.error) for each in found)
        self.metrics.images("refused", refused)
        self.metrics.images("predicted", len(found) - refused)
        told = [self._told(each.name, one) for each, one in zip(uploads, found, strict=True)]
        return Predictions(predictions=told, use=USE)

    async def explain(self, uploads: Sequence[Upload], target: str) -> Heat:
        """Explain a class of the one image of a request.

        Raises:
            Refused: not one image, one that can't be used, or see :class:`Heats`.
        """
        if len(uploads) != 1:
            raise Refused(422, f"A heat map is made of one image, and {len(uploads)} were sent.")
        (image,) = await self._check(uploads)
        if isinstance(image, str):
            raise Refused(422, image)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, self.heats, image, target)

    async def _check(self, uploads: Sequence[Upload]) -> list[Encoded | str]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            *(
                loop.run_in_executor(self._pool, check_image, each.data, self.limits)
                for each in uploads
            )
        )

    def _score(self, images: Sequence[Encoded]) -> Scored:
        return self.ensemble.score(self.ensemble.prepare(images))

    def _told(self, name: str, one: One) -> Prediction:
        names = self.ensemble.class_names
        if one.error:
            return Prediction(
                name=name, label=None, probabilities=None, spread=None, note=one.note,
                error=one.error,
            )  # fmt: skip
        return Prediction(
            name=name,
            label=names[one.label],
            probabilities=dict(zip(names, one.probabilities, strict=True)),
            spread=one.spread,
            note=one.note,
            error="",
        )

    def about(self) -> About:
        """Say what is served."""
        members, limits = self.ensemble.members, self.limits
        decision = self.ensemble.decision
        return About(
            runs=[member.run_dir.resolve().name for member in members],
            backbones=[member.metadata["backbone"] for member in members],
            classes=list(self.ensemble.class_names),
            meanings=meanings(self.ensemble.class_names),
            positive=decision.positive,
            threshold=decision.threshold,
            label_rule=decision.sentence,
            calibration=self._calibration(),
            synthetic=any(bool(member.metadata.get("synthetic")) for member in members),
            heat_maps=self.heats.available,
            limits=Bounds(
                images=limits.images,
                image_mb=limits.image_mb,
                request_mb=limits.request_mb,
                megapixels=limits.megapixels,
            ),
            use=USE,
            version=fastleuk.__version__,
        )

    def _calibration(self) -> str:
        temperatures = [member.decision.temperature for member in self.ensemble.members]
        plain = sum(value == 1.0 for value in temperatures)
        shown = ", ".join(f"{value:.2f}" for value in temperatures)
        if plain == len(temperatures):
            return "Not calibrated: networks are often surer than they are right."
        if plain:
            return f"Only partly calibrated (temperatures {shown}; 1 is none)."
        return f"Calibrated on the validation part (temperature {shown}), not on your images."
