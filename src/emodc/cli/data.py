"""The command line's ``emodc data list | check | prepare``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from emodc.cli.console import note, print_error, print_json, print_rich, progress

data_app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="List, check and prepare datasets.",
)

_Spec = Annotated[str, typer.Argument(metavar="NAME:PATH", help="Dataset; see emodc data list.")]
_NAMED = 30  # unreadable images in a table
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@data_app.command("list")
def list_data(as_json: _Json = False) -> None:
    """List the datasets that --data accepts."""
    from rich.table import Table
    from rich.text import Text

    from emodc.data.registry import REGISTRY, dataset_names

    table = Table("--data", "classes", "what the path is")
    rows: list[dict[str, str | int | None]] = []
    for name in dataset_names():
        entry = REGISTRY[name]
        classes = None if entry.label_set is None else len(entry.label_set)
        rows.append(
            {
                "name": name,
                "argument": entry.argument,
                "classes": classes,
                "summary": entry.summary,
            }
        )
        table.add_row(Text(f"{name}{entry.argument}"), str(classes or "yours"), Text(entry.summary))
    if as_json:
        print_json(rows)
        return
    print_rich(table)


@data_app.command()
def check(
    data: _Spec,
    official: Annotated[
        bool, typer.Option("--official", help="Require the published numbers of images.")
    ] = False,
    contact_sheet: Annotated[
        Path | None, typer.Option(help="PNG to write, with images of every class and split.")
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the choice of images for the contact sheet.")
    ] = 0,
    as_json: _Json = False,
) -> None:
    """Decode every image of a dataset and report what is wrong.

    Exit codes: 0 no problems; 1 problems found; 2 no such dataset.
    """
    from emodc.data.check import check as run
    from emodc.data.check import refusal
    from emodc.data.contact_sheet import contact_sheet as draw
    from emodc.data.registry import find_entry

    entry, argument = find_entry(data)
    try:
        release = entry.open(argument)
    except ValueError as error:
        report = refusal(data.partition(":")[0], str(error))
    else:
        if contact_sheet is not None:
            draw(release, seed).save(contact_sheet, format="PNG")
        with progress("images") as advance:
            report = run(release, official=official, progress=advance)
    if as_json:
        print_json(report)
    elif "splits" in report:
        print_rich(_check_table(report))
    for finding in report["findings"]:
        if finding["severity"] == "off":
            print_error(f"{report['data']}: {finding['message']}")
    if not report["ok"]:
        raise typer.Exit(1)


@data_app.command()
def prepare(
    data: _Spec,
    output: Annotated[
        Path, typer.Option(help="Folder to write; an interrupted preparation resumes there.")
    ],
    size: Annotated[int, typer.Option(min=16, help="Side of the crops in pixels.")] = 112,
    geometry: Annotated[
        str, typer.Option(help="Where the crops place the landmarks: arcface or fer2013.")
    ] = "arcface",
    margin: Annotated[
        float, typer.Option(help="Extra margin on each side, as a share of the side.")
    ] = 0.0,
    detect: Annotated[
        bool,
        typer.Option(
            "--detect/--no-detect", help="Detect and align faces, or resize whole images."
        ),
    ] = True,
    splits: Annotated[
        str | None, typer.Option(help="Splits to write, such as train,validation. [default: all]")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Detect, align and crop the face of every labeled image into a folder.

    Exit codes: 0 success; 1 some images failed (failures.csv names them); 2 failure.
    """
    from emodc.data.prepare import prepare as run
    from emodc.data.registry import open_release

    release = open_release(data)
    with progress("images") as advance:
        manifest = run(
            release,
            output,
            size=size,
            geometry=geometry if detect else None,
            margin=margin,
            splits=None if splits is None else splits.split(","),
            progress=advance,
        )
    if as_json:
        print_json({key: value for key, value in manifest.items() if key != "files"})
    written, failed = sum(manifest["written"].values()), manifest["failed"]
    note(f"{written:,} crops in {output}; use them with --data csv:{output / 'data.csv'}")
    if failed:
        images, them = ("1 image", "it") if failed == 1 else (f"{failed:,} images", "them")
        print_error(f"{images} failed; {output / 'failures.csv'} names {them}")
        raise typer.Exit(1)


def _check_table(report: Mapping[str, Any]) -> Any:
    """Return the readable form of a report of `emodc.data.check.check`."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    splits = {name: row for name, row in report["splits"].items() if row["total"]}
    counts = Table("class", title=f"{report['data']}: images (published)", title_justify="left")
    for name, row in splits.items():
        owners = row["owners_name"]
        counts.add_column(name if owners == name else f"{name} ({owners})", justify="right")
    for label in report["classes"]:
        cells = (_beside(row["classes"][label], row["official"], label) for row in splits.values())
        counts.add_row(Text(label), *cells)
    counts.add_row("no label", *(f"{row['unlabeled']:,}" for row in splits.values()))
    totals = (_beside(row["total"], row["official"], "total") for row in splits.values())
    counts.add_row("all", *totals, style="bold")
    parts: list[Any] = [counts]
    if sizes := report["sizes"]:
        parts += [_range(sizes, "width"), _range(sizes, "height")]
        common = (f"{s['width']}x{s['height']} ({s['images']:,})" for s in sizes["commonest"])
        parts.append(f"most common sizes: {', '.join(common)}")
    found = Table("", "what", "examples", title="findings", title_justify="left")
    for finding in report["findings"]:
        style = "bold red" if finding["severity"] == "off" else "dim"
        examples = ", ".join(_example(example) for example in finding["examples"][:2])
        found.add_row(Text(finding["severity"], style), Text(finding["message"]), Text(examples))
    parts += [found] if report["findings"] else []
    bad = report["unreadable"]
    parts += [Text(f"{image['id']}: {image['reason']}") for image in bad[:_NAMED]]
    if len(bad) > _NAMED:
        parts.append(f"and {len(bad) - _NAMED:,} more, which --json names")
    parts.append("no problems found" if report["ok"] else "problems found")
    return Group(*parts)


def _range(sizes: Mapping[str, Any], side: str) -> str:
    found = sizes[side]
    return f"{side}: {found['min']} to {found['max']} pixels, median {found['median']:g}"


def _beside(count: int, official: Mapping[str, int], name: str) -> str:
    if name not in official:
        return f"{count:,}"
    return f"{count:,} ({'=' if count == official[name] else f'{official[name]:,}'})"


def _example(example: Any) -> str:
    return example if isinstance(example, str) else " = ".join(example)
