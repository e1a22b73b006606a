"""The options that commands share, and completion by the shell."""

import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from emodc.cli.app import app
from emodc.cli.options import Adaptive, OptionalDelta, TrainingDevice, chosen_delta, names_to_show
from emodc.inference.scorer import DEFAULT_DELTA

_PARSER = typer.Typer()


@_PARSER.command(cls=OptionalDelta)
def show(paths: list[str], adaptive: Adaptive = None, device: TrainingDevice = "auto") -> None:
    typer.echo(f"{paths} {chosen_delta(adaptive)}")


@pytest.mark.parametrize(
    ("words", "paths", "delta"),
    [
        ("a.jpg", ["a.jpg"], None),
        ("a.jpg --adaptive", ["a.jpg"], DEFAULT_DELTA),
        ("--adaptive a.jpg", ["a.jpg"], DEFAULT_DELTA),
        ("--adaptive 1e-2 a.jpg", ["a.jpg"], 0.01),
        ("--adaptive .5 a.jpg", ["a.jpg"], 0.5),
        ("--adaptive +5E-1 a.jpg", ["a.jpg"], 0.5),
        ("--adaptive=0.5 1e-2", ["1e-2"], 0.5),
        ("--adaptive -1 a.jpg", ["a.jpg"], -1.0),
        ("--adaptive 0 a.jpg", ["a.jpg"], 0.0),
        ("--adaptive nan", ["nan"], DEFAULT_DELTA),
        ("--adaptive --device cpu a.jpg", ["a.jpg"], DEFAULT_DELTA),
        ("--adaptive --adaptive 0.3 a.jpg", ["a.jpg"], 0.3),
        ("-- --adaptive 0.3", ["--adaptive", "0.3"], None),
    ],
)
def test_adaptive_takes_a_number_in_any_spelling_and_nothing_else(
    words: str, paths: list[str], delta: float | None
) -> None:
    result = CliRunner().invoke(_PARSER, words.split())
    assert result.exit_code == 0, result.output
    assert result.output == f"{paths} {delta}\n"


def test_training_runs_on_a_cpu() -> None:
    result = CliRunner().invoke(_PARSER, ["a.jpg", "--device", "gpu"])
    assert str(result.exception) == "--device is auto or cpu in training, not 'gpu'"


def test_models_of_one_name_are_told_apart_by_what_was_asked() -> None:
    assert names_to_show(["a", "b"], ["x", "y"]) == ["a", "b"]
    assert names_to_show(["a", "a", "b"], ["x", "y", "z"]) == ["x", "y", "b"]
    with pytest.raises(ValueError, match="x, x: models to compare need different names"):
        names_to_show(["a", "a"], ["x", "x"])


def _commands() -> list[list[str]]:
    group = typer.main.get_command(app)
    data = group.commands["data"]  # type: ignore[attr-defined]
    names = [[name] for name in group.commands]  # type: ignore[attr-defined]
    return [[], *names, *(["data", name] for name in data.commands)]


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_help_is_short_or_long(command: list[str]) -> None:
    short, long = (CliRunner().invoke(app, [*command, word]) for word in ("-h", "--help"))
    assert short.exit_code == long.exit_code == 0
    assert short.output == long.output
    assert "Usage:" in short.output


@pytest.mark.parametrize(
    ("typed", "completed"),
    [("emodc rob", "robustness"), ("emodc data pre", "prepare"), ("emodc train --dr", "--dry-run")],
)
def test_a_shell_completes_commands_and_options(typed: str, completed: str) -> None:
    code = "from emodc.cli.app import app; app(prog_name='emodc')"
    asked = {
        "_EMODC_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(typed.count(" ")),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [completed], done.stderr
