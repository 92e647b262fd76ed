"""The program: its commands, put together."""

from __future__ import annotations

from importlib import metadata

import typer

from edgelr.cli import compress, demo, doctor, inspect, profile, table, targets, verify

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Compress a PyTorch network to a budget on a device: int8 .tflite and .onnx, measured.",
)
app.command("compress")(compress.compress)
app.command("plan")(compress.plan)
app.command("quantize")(compress.quantize)
app.command("inspect")(inspect.inspect)
app.command("profile")(profile.profile)
app.command("targets")(targets.targets)
app.add_typer(table.table, name="table")
app.command("verify")(verify.verify)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)


@app.callback(invoke_without_command=True)
def start(version: bool = typer.Option(False, "--version", help="Print the version.", is_eager=True)) -> None:
    """Compress a PyTorch network to a budget on a device: int8 .tflite and .onnx, measured."""
    if version:
        typer.echo(f"edgelr {metadata.version('edgelr')}")
        raise typer.Exit
