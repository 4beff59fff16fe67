"""The HTTP interface of a model: requests are checked, batched, answered and counted.

Every answer that is no prediction is `{"error": LINE}` with the status of its cause: 400 no JSON,
404 and 405 unknown places, 408 a body that does not come, 413 too large, 415 no JSON by its header,
422 not what is expected, 503 too busy or ending, 504 too late.
"""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import uuid4

from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response

from shortlist.deploy.inference import Prediction, Predictor
from shortlist.deploy.serving.batching import Batcher, Busy, TooLate
from shortlist.deploy.serving.interactions import Interactions
from shortlist.deploy.serving.measures import Measures
from shortlist.deploy.serving.page import page
from shortlist.errors import InvalidInput
from shortlist.models.words import OUTSIDE

if TYPE_CHECKING:
    from pathlib import Path

    from tokenizers import Encoding

MIB = 2**20
_READ = ("/", "/health", "/metrics", "/openapi.json")
PATHS = (*_READ, "/predict", "/correct")
SHOWN = 200  # characters of what a request holds, in a message
Label = str | float | list[str]
Model = TypeVar("Model", bound=BaseModel)
Given = tuple[Sequence[str], "Encoding"]  # the text, or both texts, and its token ids


class PredictRequest(BaseModel):
    """What `/predict` takes: texts, of a task of pairs with their second texts."""

    model_config = ConfigDict(extra="forbid", strict=True)
    texts: list[str]
    texts_b: list[str] | None = None


class CorrectRequest(BaseModel):
    """What `/correct` takes: the id of a prediction and the right label."""

    model_config = ConfigDict(extra="forbid", strict=True)
    id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    label: Label


@dataclass(frozen=True)
class Limits:
    """What a request may take.

    Attributes:
        batch: inputs that are run together.
        wait: seconds that the first input of a batch waits for others.
        items: inputs of a request.
        length: characters of a text.
        body: bytes of a request.
        timeout: seconds for reading a request, and for answering it.
        waiting: inputs that may wait at a time.
    """

    batch: int = 32
    wait: float = 0.002
    items: int = 128
    length: int = 100_000
    body: int = MIB
    timeout: float = 10.0
    waiting: int = 1024


@dataclass
class State:
    """What changes while the server runs.

    Attributes:
        ending: whether it has been told to end: it answers, but wants no further requests.
        answered: number of requests to `/predict` that were answered.
    """

    ending: bool = False
    answered: int = 0


def create_app(
    predictor: Predictor, limits: Limits, log: Path | None = None, state: State | None = None
) -> FastAPI:
    """Returns the application.

    Args:
        predictor: what predicts.
        limits: what a request may take.
        log: file of predictions and corrections; None for none.
        state: what a server that ends it changes.

    Raises:
        InvalidInput: `log` is not such a file.
    """
    return _Service(predictor, limits, log, state or State()).app()


class _Service:
    """The endpoints and what they share."""

    def __init__(
        self, predictor: Predictor, limits: Limits, log: Path | None, state: State
    ) -> None:
        self.predictor, self.limits, self.state = predictor, limits, state
        self.model, self.measures = predictor.model, Measures(predictor.model)
        self.versions = {
            "model_version": self.model.model_version,
            "data_version": self.model.data_version,
        }
        self.log_thread = ThreadPoolExecutor(1, "log")
        self.log: Interactions | None = None
        if log is not None:  # SQLite wants one thread
            opened = self.log_thread.submit(Interactions, log, **self.versions)
            self.log = opened.result()
        self.page = page(self.model, predictor.metric, logs=log is not None)
        self.batcher: Batcher[Given, Prediction] | None = None

    def app(self) -> FastAPI:
        app = FastAPI(
            title=f"shortlist: {self.model.task}",
            version=self.model.model_version,
            docs_url=None,  # pages of FastAPI load scripts from elsewhere
            redoc_url=None,
            lifespan=self._lifespan,
        )
        app.middleware("http")(self._around)
        app.exception_handler(HTTPException)(_refusal)
        app.exception_handler(Exception)(_fault)
        app.get("/", response_class=HTMLResponse)(self.show)
        app.get("/health")(self.health)
        app.get("/metrics", response_class=Response)(self.metrics)
        for path, run, kind in (
            ("/predict", self.predict, PredictRequest),
            ("/correct", self.correct, CorrectRequest),
        ):
            schema = {"application/json": {"schema": kind.model_json_schema()}}
            app.post(path, openapi_extra={"requestBody": {"required": True, "content": schema}})(
                run
            )
        return app

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncGenerator[None]:
        limits = self.limits
        self.batcher = Batcher(self._run, limits.batch, limits.wait, limits.waiting, self._ran)
        await self.batcher.start()
        try:
            yield
        finally:
            await self.batcher.stop()
            if self.log is not None:
                await asyncio.get_running_loop().run_in_executor(self.log_thread, self.log.close)
            self.log_thread.shutdown()

    def _run(self, given: Sequence[Given]) -> list[Prediction]:
        texts, encodings = [texts[0] for texts, _ in given], [encoding for _, encoding in given]
        return self.predictor.answers(texts, encodings, self.predictor.outputs(encodings))

    def _ran(self, size: int, seconds: float) -> None:
        self.measures.batches.observe(size)
        self.measures.inference.observe(seconds)

    async def _around(
        self, request: Request, call: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        """Counts and times a request; asks clients to leave while the server ends."""
        start = time.monotonic()
        path = request.url.path if request.url.path in PATHS else "other"
        status = "500"  # of a fault, which `_fault` answers
        try:
            response = await call(request)
            status = str(response.status_code)
        finally:
            self.measures.requests.labels(path, status).inc()
        self.measures.seconds.labels(path).observe(time.monotonic() - start)
        if self.state.ending:
            response.headers["connection"] = "close"
        response.headers["x-content-type-options"] = "nosniff"
        return response

    async def show(self) -> HTMLResponse:
        """Returns the page to try the model."""
        return HTMLResponse(self.page, headers={"cache-control": "no-store"})

    async def health(self) -> JSONResponse:
        """Returns what is served: 200, or 503 once the server was told to end."""
        about = {
            "status": "ending" if self.state.ending else "ok",
            "task": self.model.task,
            "kind": self.model.kind,
            "labels": self.model.labels,
            "max_length": self.model.max_length,
            "file": self.predictor.file,
            "calibration": self.model.calibration and self.model.calibration.method,
            "metric": str(self.predictor.metric),
            **self.versions,
        }
        return JSONResponse(about, 503 if self.state.ending else 200)

    async def metrics(self) -> Response:
        """Returns the measures in the text format of Prometheus."""
        self.measures.waiting.set(len(self.batcher or ()))
        return Response(self.measures.text(), media_type=self.measures.media_type)

    async def predict(self, request: Request) -> JSONResponse:
        """Returns a prediction for each text."""
        given = await self._read(request, PredictRequest)
        rows = self._rows(given)
        try:
            encodings = await asyncio.to_thread(self.predictor.encode, given.texts, given.texts_b)
        except InvalidInput as error:
            raise HTTPException(422, str(error)) from error
        assert self.batcher is not None
        try:
            answers = await self.batcher.submit(
                list(zip(rows, encodings, strict=True)), self.limits.timeout
            )
        except Busy as error:
            raise HTTPException(
                503, f"{self.limits.waiting:,} texts wait already; try again", {"retry-after": "1"}
            ) from error
        except TooLate as error:
            raise HTTPException(
                504, f"not answered within {self.limits.timeout:g} s; send fewer or shorter texts"
            ) from error
        self.measures.predictions.inc(len(answers))
        self.measures.truncated.inc(sum(answer.truncated for answer in answers))
        ids = [f"{time.time_ns():016x}{uuid4().hex[:16]}" for _ in answers]  # in the order of time
        found = [_plain(id_, answer) for id_, answer in zip(ids, answers, strict=True)]
        content: dict[str, Any] = {"predictions": found, **self.versions}
        if self.log is not None:
            kept = [
                (id_, texts, answer.label, answer.probability)
                for id_, texts, answer in zip(ids, rows, answers, strict=True)
            ]
            content["logged"] = await self._logged(self.log.add, kept) is not _FAILED
        self.state.answered += 1
        return JSONResponse(content)

    async def correct(self, request: Request) -> JSONResponse:
        """Adds the right label of an earlier prediction to the log."""
        if self.log is None:
            raise HTTPException(
                404, "corrections are not kept; the server needs --log FILE.sqlite for that"
            )
        given = await self._read(request, CorrectRequest)
        self._check_label(given.label)
        done = await self._logged(self.log.correct, given.id, given.label)
        if done is _FAILED:
            raise HTTPException(503, "the correction could not be written; look at the server")
        if not done:
            raise HTTPException(404, f"there is no prediction {given.id}")
        return JSONResponse({"corrected": given.id, **self.versions})

    async def _logged(self, write: Callable[..., Any], *arguments: Any) -> Any:
        """Returns what a method of the log returns; `_FAILED`, counted and said, if it fails."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self.log_thread, write, *arguments)
        except sqlite3.Error as error:
            self.measures.log_failures.inc()
            print(f"warning: --log cannot be written: {error}", file=sys.stderr, flush=True)
            return _FAILED

    async def _read(self, request: Request, kind: type[Model]) -> Model:
        """Returns the body of a request.

        Raises:
            HTTPException: it is too large, does not come, or is not what is expected.
        """
        declared = request.headers.get("content-type", "")
        if declared.partition(";")[0].strip().lower() != "application/json":
            raise HTTPException(
                415, f"expected content-type: application/json, found {_shown(declared)}"
            )
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.timeout):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self.limits.body:
                        raise HTTPException(
                            413,
                            f"expected a body of at most {self.limits.body:,} bytes, found more",
                        )
        except TimeoutError as error:
            raise HTTPException(
                408, f"the body did not come within {self.limits.timeout:g} s"
            ) from error
        try:
            read = kind.model_validate_json(bytes(body))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            no_json = first["type"] == "json_invalid"
            place = ".".join(map(str, first["loc"])) or "the body"
            reason = f"{_shown(place)}: {_shown(first['msg'])}"
            raise HTTPException(400 if no_json else 422, reason) from error
        names = [name for name, _ in json.loads(body, object_pairs_hook=list)]
        for name in read.model_fields_set:
            if names.count(name) > 1:  # the parser keeps the last one
                raise HTTPException(422, f"{name}: expected once, found {names.count(name)} times")
        return read

    def _rows(self, given: PredictRequest) -> list[tuple[str, ...]]:
        """Returns the text, or both texts, of each input.

        Raises:
            HTTPException: they are too many, too long, empty, or not of the task's kind.
        """
        n = len(given.texts)
        if n > self.limits.items:
            raise HTTPException(
                413, f"expected at most {self.limits.items:,} texts a request, found {n:,}"
            )
        if not n:
            raise HTTPException(422, "texts: expected at least one text, found none")
        pairs = given.texts_b is not None
        if pairs != self.model.two_texts:
            wanted = "a second text for each" if self.model.two_texts else "none"
            raise HTTPException(
                422, f"texts_b: expected {wanted}, found {'some' if pairs else 'none'}"
            )
        if given.texts_b is not None and len(given.texts_b) != n:
            raise HTTPException(
                422, f"texts_b: expected {n:,} texts as in texts, found {len(given.texts_b):,}"
            )
        for name, texts in (("texts", given.texts), ("texts_b", given.texts_b or ())):
            for place, text in enumerate(texts):
                if len(text) > self.limits.length:
                    raise HTTPException(
                        422,
                        f"{name}.{place}: expected at most {self.limits.length:,} characters, found "
                        f"{len(text):,}",
                    )
                if not text.strip():
                    raise HTTPException(422, f"{name}.{place}: expected a text, found an empty one")
        return (
            [(text,) for text in given.texts]
            if given.texts_b is None
            else list(zip(given.texts, given.texts_b, strict=True))
        )

    def _check_label(self, label: Label) -> None:
        """Raises HTTPException where a label is none that the model could predict."""
        kind, known = self.model.kind, self.model.labels
        if kind == "regression":
            right = isinstance(label, float) and math.isfinite(label)
            wanted = "a number"
        elif kind in ("multi_label", "tokens"):
            every = {*known, OUTSIDE} if kind == "tokens" else set(known)
            right = isinstance(label, list) and set(label) <= every
            wanted = (
                f"a list of {'tags' if kind == 'tokens' else 'classes'} among {', '.join(known)}"
            )
        else:
            right, wanted = isinstance(label, str) and label in known, f"one of {', '.join(known)}"
        if not right:
            raise HTTPException(
                422, f"label: expected {_shown(wanted)}, found {_shown(repr(label))}"
            )


_FAILED = object()


def _plain(id_: str, answer: Prediction) -> dict[str, Any]:
    found: dict[str, Any] = {"id": id_, "label": answer.label}
    if answer.probability is not None:
        found["probability"] = answer.probability
    if answer.probabilities:
        found["probabilities"] = answer.probabilities
    return found | {"truncated": answer.truncated}


def _shown(text: str) -> str:
    """Returns a text as one line of some length."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"


async def _refusal(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    reason = str(error.detail)
    if error.status_code in (404, 405) and reason in ("Not Found", "Method Not Allowed"):
        place = _shown(f"{request.method} {request.url.path}")
        reason = (
            f"there is no {place}; POST goes to /predict and /correct, GET to {', '.join(_READ)}"
        )
    return JSONResponse({"error": reason}, error.status_code, error.headers)


async def _fault(request: Request, error: Exception) -> JSONResponse:
    """Answers where the program is at fault; the traceback is shown where the server runs."""
    return JSONResponse({"error": "the server failed; its own output says how"}, 500)
