"""Where ``emodc predict`` writes to, and whether that fits what it is asked about."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emodc.faces.formats import HEAD, image_format
from emodc.reports.rows import CsvRows, JsonRows, Rows, check_suffix, require_parquet, rows_file
from emodc.support.parsing import open_regular

STANDARD_OUTPUT = "-"

_VIDEO_SUFFIXES = frozenset(
    {
        *(".3g2", ".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".gxf", ".h264", ".h265"),
        *(".hevc", ".ivf", ".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov"),
        *(".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".rm", ".rmvb", ".ts"),
        *(".vob", ".webm", ".wmv", ".wtv", ".y4m", ".m4a", ".mp3", ".ogg"),
    }
)
# How containers without a telling name begin.
_VIDEO_STARTS = (
    *(b"\x1aE\xdf\xa3", b"OggS", b"FLV\x01", b"\x30\x26\xb2\x75", b"\x00\x00\x01\xba"),
    *(b"DKIF", b"YUV4MPEG2", b"\x06\x0e\x2b\x34", b".RMF"),
)


def is_video(path: str) -> bool:
    """Tell whether a path names a video: by its suffix, or by how the file begins."""
    if os.path.isdir(path):  # noqa: PTH112 (Path.is_dir raises at overlong names)
        return False
    if Path(path).suffix.lower() in _VIDEO_SUFFIXES and not any(c in path for c in "*?"):
        return True
    try:
        with open_regular(Path(path)) as file:
            head = file.read(HEAD)
    except (OSError, ValueError):
        return False
    if image_format(head) is not None:
        return False
    is_riff = head.startswith(b"RIFF") and head[8:12] == b"AVI "
    return head.startswith(_VIDEO_STARTS) or is_riff or head[4:8] in (b"ftyp", b"moov")


@dataclass(frozen=True)
class Outputs:
    """Where the answers go.

    Attributes:
        csv: a file, `STANDARD_OUTPUT`, or None.
        json: likewise.
        parquet: a file.
        overlay: a folder for images, a file for a video.
        vtt: a file.
        timeline: a file.
        html: a file; for images.
    """

    csv: str | None
    json: str | None
    parquet: Path | None
    overlay: Path | None
    vtt: Path | None
    timeline: Path | None
    html: Path | None = None

    @property
    def to_terminal(self) -> bool:
        """Whether nothing but a table is asked for on standard output."""
        return STANDARD_OUTPUT not in (self.csv, self.json)

    @property
    def files(self) -> list[Path]:
        """The files to write, without the folder of images."""
        tables = [Path(name) for name in (self.csv, self.json) if name not in (None, "-")]
        rest = (self.parquet, self.vtt, self.timeline, self.overlay)
        return [*tables, *(path for path in rest if path is not None)]

    def for_images(self) -> None:
        """Refuse what is for videos, before any work.

        Raises:
            ValueError: subtitles or a timeline are asked for, a name ends wrongly, or the folder of
                images cannot be one.
            ImportError: what writes them is not installed.
        """
        if self.vtt is not None or self.timeline is not None:
            raise ValueError("--vtt and --timeline are for videos: give one")
        from emodc.reports.html import check_page

        self._check_tables()
        check_page(self.html)
        if self.overlay is not None and self.overlay.exists() and not self.overlay.is_dir():
            raise ValueError(f"{self.overlay}: not a folder; --overlay needs one for images")

    def for_video(self, source: str | int) -> None:
        """Refuse what cannot be written, before any work.

        Raises:
            ValueError: a name ends wrongly, a folder is missing, the video itself would be
                replaced, or a camera's picture is asked for.
            ImportError: what writes the files is not installed.
        """
        from emodc.reports.figures import require_matplotlib
        from emodc.reports.overlay_video import SUFFIXES

        self._check_tables()
        if self.vtt is not None:
            check_suffix(self.vtt, (".vtt",))
        if self.timeline is not None:
            check_suffix(self.timeline, (".svg", ".png", ".pdf"))
            require_matplotlib()
        if self.overlay is not None:
            if isinstance(source, int):
                raise ValueError("--overlay needs a file: record the camera first")
            check_suffix(self.overlay, SUFFIXES)
        for file in self.files:
            _check_folder(file)
            if isinstance(source, str) and file.exists() and file.samefile(source):
                raise ValueError(f"{file}: is the video itself; name another output")

    @contextmanager
    def tables(
        self, columns: Mapping[str, type], standard: Any
    ) -> Iterator[Sequence[tuple[Rows, bool]]]:
        """Open the tables.

        Args:
            columns: of the flat ones.
            standard: standard output.

        Yields:
            What takes the rows, and whether it wants flat records rather than nested objects.
        """
        with ExitStack() as stack:
            opened: list[tuple[Rows, bool]] = []
            for name, flat in ((self.csv, True), (self.json, False)):
                if name == STANDARD_OUTPUT:
                    rows: Rows = CsvRows(standard, columns) if flat else JsonRows(standard)
                    opened.append((rows, flat))
                elif name is not None:
                    opened.append((stack.enter_context(rows_file(Path(name), columns)), flat))
            if self.parquet is not None:
                opened.append((stack.enter_context(rows_file(self.parquet, columns)), True))
            yield opened
            for rows, _ in opened:
                if isinstance(rows, JsonRows) and rows.stream is standard:
                    rows.close()

    def _check_tables(self) -> None:
        for name, suffix in ((self.csv, ".csv"), (self.json, ".json"), (self.parquet, ".parquet")):
            if name is not None and name != STANDARD_OUTPUT:
                check_suffix(Path(name), (suffix,))
                _check_folder(Path(name))
        if self.parquet is not None:
            require_parquet()


def _check_folder(file: Path) -> None:
    if not file.absolute().parent.is_dir():
        raise ValueError(f"{file}: there is no folder {file.parent}; make it first")
