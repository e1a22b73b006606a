"""The command line: ``emodc`` and its commands, which `emodc.cli.predict` and the like hold.

Data goes to stdout, everything else to stderr. Heavy modules are imported inside the commands, so
that help and usage errors come at once.
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from emodc.cli.adapt import adapt
from emodc.cli.analyze import analyze
from emodc.cli.calibrate import calibrate
from emodc.cli.certify import certify
from emodc.cli.console import is_main_process, print_error, remember_command
from emodc.cli.data import data_app
from emodc.cli.evaluate import evaluate
from emodc.cli.explain import explain
from emodc.cli.export import export
from emodc.cli.options import EPILOG, OptionalDelta
from emodc.cli.outliers import outliers
from emodc.cli.predict import PredictCommand, predict
from emodc.cli.robustness import robustness
from emodc.cli.sample import sample
from emodc.cli.sample_quality import sample_quality
from emodc.cli.streams import close_output, open_streams, print_os_error
from emodc.cli.study import study
from emodc.cli.train import recipes, train


class _ErrorBoundary(TyperGroup):
    """The one place where errors become a line on stderr and an exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        remember_command(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # who read our output has seen enough; typer ends without a word
        except KeyboardInterrupt:
            typer.echo("emodc: interrupted", err=True)
            raise typer.Exit(130) from None
        except OSError as error:
            print_os_error(error)
        except (ValueError, ImportError) as error:
            print_error(str(error))
        raise typer.Exit(2)


app = typer.Typer(
    cls=_ErrorBoundary,
    epilog=EPILOG,
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.command(cls=PredictCommand, epilog=EPILOG)(predict)
app.command(cls=OptionalDelta, epilog=EPILOG)(evaluate)
app.command(cls=OptionalDelta, epilog=EPILOG)(robustness)
app.command(epilog=EPILOG)(explain)
app.command(epilog=EPILOG)(certify)
app.command(epilog=EPILOG)(outliers)
app.command(epilog=EPILOG)(analyze)
app.command(epilog=EPILOG)(adapt)
app.command(epilog=EPILOG)(calibrate)
app.command(epilog=EPILOG)(sample)
app.command(epilog=EPILOG)(sample_quality)
app.command(epilog=EPILOG)(train)
app.command(epilog=EPILOG)(study)
app.command(epilog=EPILOG)(export)
app.command()(recipes)
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line."""
    open_streams()
    if not is_main_process():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 (open until the process ends)
    code: int = 0
    try:
        app()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except OSError as error:  # while it printed help
        print_os_error(error)
        code = 2
    sys.exit(close_output(code))


def _print_version(wanted: bool) -> None:
    if wanted:
        from emodc import __version__

        typer.echo(f"emodc {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Recognize facial expressions with a conditional diffusion model as the classifier."""
    # Pillow and numpy warn of large images and odd metadata; what reads the file decides what is
    # refused.
    warnings.filterwarnings("ignore", module=r"(PIL|numpy)\.")
