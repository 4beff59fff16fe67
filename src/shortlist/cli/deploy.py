"""The commands on finished models: `compress`, `export`, `serve`."""

from __future__ import annotations

import argparse
import sys

from shortlist.cli.terminal import console, shown
from shortlist.errors import InvalidInput, Missing


def compress(options: argparse.Namespace) -> None:
    """Prints and writes the table of a run's smaller models: size, latency, metric."""
    from shortlist.deploy.runs import open_run
    from shortlist.deploy.smaller import compare_models, write_comparison
    from shortlist.rendering.tables import rich_table

    folder = options.run if options.run.is_dir() else options.run.parent
    with open_run(options.run, options.hydra) as run:
        found = compare_models(run, options.passes, onnx=options.onnx)
    console(sys.stdout).print(rich_table(found.table))
    page = write_comparison(found, options.out or folder)
    print(f"page  {shown(page.absolute())}")


def export(options: argparse.Namespace) -> None:
    """Writes the model directory of a run and prints what it is worth."""
    from shortlist.deploy.export import export_run
    from shortlist.deploy.runs import open_run

    with open_run(options.run, options.hydra) as run:
        done = export_run(
            run.of(options.model),
            options.out,
            onnx=options.onnx,
            int8=options.int8,
            licence=options.licence,
        )
    print(f"{done.task}, run {done.run}, model version {done.model_version}")
    size = (done.path / "model.safetensors").stat().st_size
    print(f"  {'model.safetensors':<20} {size / 2**20:8,.1f} MiB  {done.metric}")
    for name, variant in done.variants.items():
        size = (done.path / name).stat().st_size
        print(
            f"  {name:<20} {size / 2**20:8,.1f} MiB  {variant.metric}, agrees with the run on "
            f"{variant.agreement:.2%} of the test items, outputs differ by at most {variant.difference:.1e}"
        )
    print(f"  calibration: {done.calibration.method if done.calibration else 'none'}")
    print(f"model directory  {shown(done.path)}")


def date_lm(options: argparse.Namespace) -> None:
    """Writes the scores and the selection of a run in DATE-LM's format."""
    from shortlist.deploy.date_lm import write_submission

    done = write_submission(
        options.run,
        options.out,
        board=options.board,
        kind=options.kind,
        link=options.link,
        candidates=options.candidates,
        settings=options.hydra,
    )
    print(
        f"{done.selected:,} of {done.candidates:,} candidates selected; {done.without_score:,} without "
        "a score have the smallest one"
    )
    print(f"submission   {shown(done.directory.absolute())}")


def serve(options: argparse.Namespace) -> None:
    """Serves a model directory over HTTP until it is told to end."""
    try:
        from shortlist.deploy.serving.app import Limits, State, create_app
        from shortlist.deploy.serving.server import listening
        from shortlist.deploy.serving.server import serve as run
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("shortlist"):
            raise
        raise Missing(
            f"{error.name} is not installed; run: pip install 'shortlist[serve]'"
        ) from error
    from shortlist.deploy.inference import Predictor
    from shortlist.deploy.model_dir import open_model_dir

    limits = Limits(
        batch=options.max_batch,
        wait=options.max_wait_ms / 1000,
        items=options.max_items,
        length=options.max_length,
        body=options.max_body,
        timeout=options.timeout,
        waiting=options.max_waiting,
    )
    for name, value in {**vars(limits), "tokens": options.max_tokens}.items():
        if not value > 0 and name != "wait":
            raise InvalidInput(f"serve: limits must be above 0, found {name} {value:g}")
    model = open_model_dir(options.model)
    predictor = Predictor(
        model, int8=options.int8, threads=options.threads, group=options.max_tokens
    )
    predictor.predict(
        ["a"], ["a"] if model.two_texts else None
    )  # a model that cannot run fails now
    state = State()
    app = create_app(predictor, limits, options.log, state)
    with listening(options.host, options.port) as bound:
        host, port = bound.getsockname()[:2]
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"

        def started() -> None:
            print(f"serving {model.task}, {predictor.file}, model version {model.model_version}")
            print(f"{address}  (ctrl-C ends it)", flush=True)

        run(app, state, bound, timeout=options.timeout, drain=options.drain, started=started)
    print(f"ended after {state.answered:,} answered requests")
