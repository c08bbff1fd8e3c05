"""Write the rows of a custom report to CSV, Parquet or Excel. Rows are streamed: memory holds a few thousand.

A report with several tables becomes several files, or sheets of one Excel file. Rows of JSON become a column for each
field. A file gets its name when it is complete; until then it has a temporary one.
"""

import csv
import errno
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from pathlib import Path
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import xlsxwriter
from pyarrow import parquet
from sqlalchemy import Connection
from xlsxwriter.exceptions import FileCreateError

from comagic_pipeline.catalog import ColumnType
from comagic_pipeline.custom_reports.mapping import convert, text_of
from comagic_pipeline.custom_reports.report import CustomReport
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.raw.days import snapshot
from comagic_pipeline.warehouse.reports.rows import json_rows, table_rows

_SHEET_ROWS = 2**20 - 1
"""Rows of an Excel sheet below its header."""
_LONGEST_CELL, _LONGEST_SHEET_NAME = 32_767, 31
"""Characters."""
_EXACT_INTEGERS = 10**15
"""Excel shows whole numbers of up to 15 digits exactly; longer ones are written as texts."""
_FRACTION = Decimal("1e-9")
"""The smallest fraction of a decimal in Parquet."""
_DECIMAL_LIMIT = Decimal(10) ** 29
"""Decimals in Parquet have 38 digits, 29 of them before the point."""
_EXACT = Context(prec=60)
"""Enough digits to round any decimal that fits. Python's own context has 28."""
_INTEGER_LIMIT = 2**63
_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""First characters of what a spreadsheet takes for a formula (OWASP, "CSV Injection")."""
_ROW_GROUP = 100_000
_LEAST_ROOM = 8192
"""Bytes. Less than two blocks could still fit into what a file system keeps for small files."""
_ARROW_TYPES = {
    ColumnType.INTEGER: pa.int64(),
    ColumnType.DECIMAL: pa.decimal128(38, 9),
    ColumnType.TEXT: pa.string(),
    ColumnType.BOOLEAN: pa.bool_(),
    ColumnType.TIMESTAMP: pa.timestamp("us"),
    ColumnType.DATE: pa.date32(),
    ColumnType.JSON: pa.string(),
}

Columns = Mapping[str, ColumnType]
Write = Callable[[Sequence[Sequence[Any]]], None]


@dataclass
class Written:
    """What was written: rows by the name of their table, and how many values did not fit into a column of the file."""

    escapes_formulas: bool = True
    paths: list[Path] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    unfit: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Part:
    """What becomes a file or a sheet: columns, and the rows of a day, part by part."""

    name: str
    columns: Columns
    rows: Callable[[Connection, date], Generator[Sequence[Sequence[Any]]]]


def check_path(out: Path) -> None:
    """Raise OSError when the file cannot be written, as a directory, a full or a read-only disk or missing rights say.

    Permissions alone do not tell: for the superuser they always allow it. A full disk has room for an empty file.
    """
    if out.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    unfinished = _unfinished(out)
    try:
        _create(unfinished)
        unfinished.write_bytes(bytes(_LEAST_ROOM))
    finally:
        unfinished.unlink(missing_ok=True)


def write_file(
    warehouse: Warehouse,
    report: CustomReport,
    period: tuple[date, date],
    out: Path,
    *,
    is_agent: bool,
    escapes_formulas: bool = True,
) -> Written:
    """Write the stored rows of these days, first to last, by the ending of `out`; raises OSError when that fails.

    Further tables of the report go to files beside it, `<name>.<table>.<ending>`. Rows of an agent's customers say
    whose they are. Only the user who runs this can read the files: they hold telephone numbers.
    With `escapes_formulas` a text in a CSV file that a spreadsheet would run begins with an apostrophe.
    """
    written = Written(escapes_formulas=escapes_formulas)
    parts = _parts(report, written, is_agent=is_agent)
    with ExitStack() as stack:
        opened = stack.enter_context(_FORMATS[out.suffix.lower()](out, parts, written))
        connection = stack.enter_context(snapshot(warehouse))
        for part, write in zip(parts, opened, strict=True):
            for number in range((period[1] - period[0]).days + 1):
                # Closed here, because an error of `write` keeps it, and with it the server's cursor.
                with closing(part.rows(connection, period[0] + timedelta(days=number))) as blocks:
                    for rows in blocks:
                        write(rows)
                        written.rows[part.name] += len(rows)
    return written


def _parts(report: CustomReport, written: Written, *, is_agent: bool) -> list[_Part]:
    own = {"simple_date": ColumnType.DATE} | ({"customer_user_id": ColumnType.INTEGER} if is_agent else {})
    first = 0 if is_agent else 1
    if report.tables:
        parts = []
        for source in report.tables:
            columns = own | {column.name: column.type for column in source.table.columns}

            def rows(
                connection: Connection, day: date, table: Any = source.table
            ) -> Generator[Sequence[Sequence[Any]]]:
                for part in table_rows(connection, report.account_id, table, day):
                    yield [(day, *row[first:]) for row in part]

            parts.append(_Part(source.table.name, columns, rows))
        return parts
    fields = {name: report.method.column(name).type for name in report.fields}
    zone = ZoneInfo("UTC")  # stored times have no offset
    decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

    def values_of(text: str) -> Iterator[Any]:
        found = decode(text)
        for name, kind in fields.items():
            try:
                value = None if bytes(found[name]) == b"null" else convert(found[name], kind, zone)
            except (ValueError, TypeError, LookupError, ArithmeticError):
                written.unfit[name] += 1
                value = None
            yield value

    def rows_of_json(connection: Connection, day: date) -> Generator[Sequence[Sequence[Any]]]:
        for part in json_rows(connection, report.account_id, report.processor_id, day):
            yield [(day, *((customer,) if is_agent else ()), *values_of(text)) for customer, text in part]

    return [_Part(report.asset_name, own | fields, rows_of_json)]


@contextmanager
def _whole_files(out: Path, parts: Sequence[_Part], written: Written) -> Iterator[list[Path]]:
    """Provide a path to write to for each part; they get their names at the end, or go when something fails."""
    paths = [out, *(out.with_name(f"{out.stem}.{part.name}{out.suffix}") for part in parts[1:])]
    unfinished = [_unfinished(path) for path in paths]
    try:
        for path in unfinished:
            _create(path)
        yield unfinished
        for path, whole in zip(unfinished, paths, strict=True):
            path.replace(whole)
        written.paths += paths
    finally:
        for path in unfinished:
            path.unlink(missing_ok=True)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")


def _create(path: Path) -> None:
    """Create an empty file that only its owner can read and write."""
    path.unlink(missing_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


@contextmanager
def _csv(out: Path, parts: Sequence[_Part], written: Written) -> Iterator[list[Write]]:
    with _whole_files(out, parts, written) as paths, ExitStack() as stack:
        writes: list[Write] = []
        for part, path in zip(parts, paths, strict=True):
            writer = csv.writer(stack.enter_context(path.open("w", encoding="utf-8", newline="")), lineterminator="\n")
            writer.writerow(part.columns)

            is_text = [kind in (ColumnType.TEXT, ColumnType.JSON) for kind in part.columns.values()]
            escaped = is_text if written.escapes_formulas else [False] * len(is_text)

            def write(rows: Sequence[Sequence[Any]], writer: Any = writer, escaped: list[bool] = escaped) -> None:
                writer.writerows(map(_csv_cell, row, escaped) for row in rows)

            writes.append(write)
        yield writes


def _csv_cell(value: Any, is_escaped: bool) -> str | None:
    if value is None:
        return None
    text = _text(value)
    return f"'{text}" if is_escaped and text.startswith(_FORMULA_SIGNS) else text


@contextmanager
def _parquet(out: Path, parts: Sequence[_Part], written: Written) -> Iterator[list[Write]]:
    with _whole_files(out, parts, written) as paths, ExitStack() as stack:
        yield [_parquet_writer(part, path, stack, written.unfit) for part, path in zip(parts, paths, strict=True)]


def _parquet_writer(part: _Part, path: Path, stack: ExitStack, unfit: Counter[str]) -> Write:
    schema = pa.schema([(name, _ARROW_TYPES[kind]) for name, kind in part.columns.items()])
    writer = stack.enter_context(parquet.ParquetWriter(path, schema, compression="zstd"))
    kinds = list(part.columns.values())
    waiting: list[pa.RecordBatch] = []

    def flush() -> None:
        writer.write_table(pa.Table.from_batches(waiting, schema))
        waiting.clear()

    def write(rows: Sequence[Sequence[Any]]) -> None:
        columns = zip(*rows, strict=True) if rows else [()] * len(kinds)
        arrays = [
            pa.array([_arrow_value(value, name, kind, unfit) for value in column], _ARROW_TYPES[kind])
            for column, (name, kind) in zip(columns, part.columns.items(), strict=True)
        ]
        waiting.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
        if sum(batch.num_rows for batch in waiting) >= _ROW_GROUP:
            flush()

    stack.callback(lambda: flush() if waiting else None)
    return write


def _arrow_value(value: Any, name: str, kind: ColumnType, unfit: Counter[str]) -> Any:
    if value is None:
        return None
    if kind in (ColumnType.JSON, ColumnType.TEXT):
        return _text(value)
    if kind is ColumnType.DECIMAL:
        # A value just below the limit may be rounded up to it.
        rounded = value.quantize(_FRACTION, context=_EXACT) if abs(value) < _DECIMAL_LIMIT else _DECIMAL_LIMIT
        fits = abs(rounded) < _DECIMAL_LIMIT
        value = rounded
    else:
        fits = kind is not ColumnType.INTEGER or -_INTEGER_LIMIT <= value < _INTEGER_LIMIT
    unfit[name] += not fits
    return value if fits else None


@contextmanager
def _xlsx(out: Path, parts: Sequence[_Part], written: Written) -> Iterator[list[Write]]:
    with _whole_files(out, parts[:1], written) as (path,):
        # Rows go to the disk as they come; texts are texts, whatever a spreadsheet could take them for.
        options: dict[str, Any] = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        options |= {"default_date_format": "yyyy-mm-dd hh:mm:ss"}
        # A folder of its own, because the library leaves its temporary files where a disk is full.
        with tempfile.TemporaryDirectory(prefix="comagic-") as folder, _sink(path) as file:
            book = xlsxwriter.Workbook(file, options | {"tmpdir": folder})
            try:
                yield [_Sheets(book, part, written).write for part in parts]
                book.close()
            except FileCreateError as error:
                raise error.args[0] from None
            finally:
                for sheet in book.worksheets():
                    with suppress(OSError):
                        sheet.row_data_fh.close()


@contextmanager
def _sink(path: Path) -> Iterator["_Sink"]:
    """Provide a file that takes everything, and raises the first OSError at its end."""
    file = path.open("wb")
    sink = _Sink(file)
    try:
        yield sink
        sink.flush()
        if sink.error:
            raise sink.error
    finally:
        with suppress(OSError):
            file.close()


class _Sink:
    """What the Excel library writes to. It must not fail, even when it is closed.

    The library leaves a ZIP archive open that could not be written; that tries again when it is collected, and prints a
    traceback if it fails.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        return self._try(self._file.write, data)

    def seek(self, *place: int) -> int:
        return self._try(self._file.seek, *place)

    def tell(self) -> int:
        return self._try(self._file.tell)

    def flush(self) -> None:
        self._try(self._file.flush)

    def _try(self, action: Callable[..., int | None], *arguments: Any) -> int:
        try:
            return action(*arguments) or 0
        except OSError as error:
            self.error = self.error or error
        except ValueError:
            pass  # it is closed
        return 0


class _Sheets:
    """The sheets of a part: a further one where the rows do not fit into one."""

    def __init__(self, book: Any, part: _Part, written: Written) -> None:
        self._book, self._part, self._written = book, part, written
        self._day = book.add_format({"num_format": "yyyy-mm-dd"})
        self._number = 0
        self._begin()

    def _begin(self) -> None:
        self._number += 1
        end = f" {self._number}" if self._number > 1 else ""
        names = {sheet.get_name().lower() for sheet in self._book.worksheets()}
        name = self._part.name[: _LONGEST_SHEET_NAME - len(end)] + end
        while name.lower() in names:
            self._number += 1
            end = f" {self._number}"
            name = self._part.name[: _LONGEST_SHEET_NAME - len(end)] + end
        self._sheet = self._book.add_worksheet(name)
        self._row = 0
        for column, title in enumerate(self._part.columns):
            self._sheet.write_string(0, column, title)

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows."""
        for row in rows:
            if self._row == _SHEET_ROWS:
                self._begin()
            self._row += 1
            for column, (name, value) in enumerate(zip(self._part.columns, row, strict=True)):
                self._cell(column, name, value)

    def _cell(self, column: int, name: str, value: Any) -> None:
        sheet = self._sheet
        match value:
            case None:
                pass
            case bool():
                sheet.write_boolean(self._row, column, value)
            case datetime():
                sheet.write_datetime(self._row, column, value)
            case date():
                sheet.write_datetime(self._row, column, value, self._day)
            case int() if abs(value) < _EXACT_INTEGERS:
                sheet.write_number(self._row, column, value)
            case Decimal():
                sheet.write_number(self._row, column, float(value))
            case _:
                text = _text(value)
                self._written.unfit[name] += len(text) > _LONGEST_CELL
                sheet.write_string(self._row, column, text[:_LONGEST_CELL])


def _text(value: Any) -> str:
    return bytes(value).decode() if isinstance(value, msgspec.Raw) else text_of(value)


_FORMATS: Mapping[str, Callable[[Path, Sequence[_Part], Written], AbstractContextManager[list[Write]]]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".xlsx": _xlsx,
}
ENDINGS = tuple(_FORMATS)
"""The endings of the files that can be written."""
