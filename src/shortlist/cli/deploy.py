"""The commands on finished models: `export`, `serve`."""

from __future__ import annotations

import argparse

from shortlist.cli.terminal import shown


def export(options: argparse.Namespace) -> None:
    """Writes the model directory of a run and prints what it is worth."""
    from shortlist.deploy.export import export_run
    from shortlist.deploy.runs import open_run

    with open_run(options.run, options.hydra) as run:
        done = export_run(
            run, options.out, onnx=options.onnx, int8=options.int8, licence=options.licence
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
