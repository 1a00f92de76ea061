"""What YAML's parser refuses or misreads, as the slip that a person made."""

from __future__ import annotations

import re
from dataclasses import dataclass

from disco.errors import show

_SETTING = re.compile(
    r"\s*(?P<key>[A-Za-z_]\w*)\s*"
    r"(?:(?P<sign>[:=\uff1a\ufe55\u2236])\s*(?P<value>\S.*)|\s(?P<plain>[-+.\d][-+.\w]*|true|false|none)\s*)"
)
_REASONS = {"=": 'a colon in place of "="', ":": "a blank after the colon", " ": "a colon after the name"}
_VALUE = re.compile(r"\s*(?P<head>- |\w+:\s+(?:- )?)?(?P<value>\S.*?)\s*")


@dataclass(frozen=True)
class Refusal:
    """What the parser said, and where: line and column from 0; start: the line where the part began."""

    problem: str
    line: int
    column: int
    start: int | None = None


def explain(error: Refusal, text: str) -> tuple[int, str]:
    """The line of the slip, from 1, and a sentence about it."""
    problem, at = error.problem, error.line
    line, lines = _line(text, at), text.splitlines()
    start = at if error.start is None else error.start
    if "\\t" in problem or "\t" in line[: len(line) - len(line.lstrip())]:
        return at + 1, "a tab where spaces should be: YAML is indented with spaces"
    if re.search(r"\]\s*\*|\*\s*\[", line):
        return at + 1, 'a schedule needs quotes: "[12]*400+[4]*600"'
    if "could not find expected ':'" in problem:
        slips = ((number, no_setting(lines[number])) for number in range(start, min(at + 1, len(lines))))
        numbered_slip = next(((number + 1, slip) for number, slip in slips if slip), None)
        if numbered_slip:
            return numbered_slip
    if "mapping values are not allowed" in problem:
        return at + 1, _second_colon(line, error.column)
    quotes = _needs_quotes(line)
    if (
        quotes
        and "<stream end>" not in problem
        and re.search("expected <block end>|cannot start any token|undefined alias|expected ','", problem)
    ):
        return at + 1, quotes
    unclosed = _unclosed(problem, lines[start : at + 1])
    return (start + 1, unclosed) if unclosed else (at + 1, _unreadable(error))


def _unreadable(error: Refusal) -> str:
    if re.search("expected <block end>, but found '<block (sequence|mapping) start>'", error.problem):
        return "indented otherwise than the lines it belongs to: begin them at the same column"
    context = "" if error.start is None else f" (in what begins on line {error.start + 1})"
    return f"not readable as YAML: {error.problem}{context}"


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number] if number < len(lines) else ""


def no_setting(line: str) -> str:
    """What is wrong with a line such as `steps:50` or `steps = 50`, and how to write it; "" if unknown."""
    match = _SETTING.fullmatch(line)
    if match is None or (match["sign"] == ":" and line[match.end("sign")] == " "):
        return ""
    reason = _REASONS.get(match["sign"] or " ", "a plain colon and a blank")
    value = (match["value"] or match["plain"]).rstrip()
    return f"{show(line.strip())} is no setting: it needs {reason}: {match['key']}: {value}"


def _unclosed(problem: str, lines: list[str]) -> str:
    """For lines that open a bracket or a quote and do not close it: which, and what to write."""
    whole = "\n".join(lines)
    shown = show(lines[0].strip()) if lines else ""
    for opening, closing in ("[]", "{}"):
        if f"or '{closing}', but got" in problem and whole.count(opening) > whole.count(closing):
            return f"{opening} is not closed: write {closing} at the end of {shown}"
    quote = re.search("[\"']", whole) if "unexpected end of stream" in problem else None
    return f"{quote[0]} is not closed: write {quote[0]} at the end of {shown}" if quote else ""


def _second_colon(line: str, column: int) -> str:
    if line[:column].count(": ") == 0 and line.startswith(" "):
        return "indented further than the line above it: begin both at the same column"
    return 'a second ": " in the line: put a text that holds ": " in quotes'


def _needs_quotes(line: str) -> str:
    """For a text that begins like something else in YAML: the same in quotes."""
    match = _VALUE.fullmatch(line)
    value = match["value"] if match else ""
    if value[:1] not in tuple("\"'[{@`%*&!|>"):
        return ""
    first, inner = value[0], value[1:-1]
    if first in "\"'" and len(value) > 1 and value.endswith(first) and first in inner:
        other = '"' if first == "'" else "'"
        return f"{first} inside a text in such quotes: write {other}{inner}{other}"
    quote = "'" if '"' in value else '"'
    return f"a text that begins with {first} needs quotes around all of it: {quote}{value}{quote}"
