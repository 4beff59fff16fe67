"""From labels to the file of corrections that the next run reads (`task.feedback`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from shortlist.data.corrections import Read, compared, in_words, read_corrections
from shortlist.data.feedback import Screened, feedback_lines, read_feedback, screen
from shortlist.deploy.runs import open_run
from shortlist.errors import InvalidInput, near
from shortlist.store.atomic import write_jsonl, write_text


@dataclass(frozen=True)
class Imported:
    """The corrections of an import.

    Attributes:
        read: what the file holds.
        screened: what became of its corrections and of those of earlier rounds.
        round: the round of the new ones.
        earlier: number of corrections of earlier rounds.
        kept: number of new ones that are kept.
        left_out: where the others are listed; None where there are none.
    """

    read: Read
    screened: Screened
    round: int
    earlier: int
    kept: int
    left_out: Path | None


def import_feedback(
    file: Path, run: Path, out: Path, settings: Sequence[str], text: str = "text"
) -> Imported:
    """Returns what became of the corrections in a file, after writing those of earlier rounds and
    the new ones to `out`; those that are left out go to a file beside it, with the reason.

    Args:
        file: what `read_corrections` reads.
        run: a run of the task; its `task.feedback` holds the earlier rounds.
        out: the file that the next run reads as `task.feedback`.
        settings: overrides of the machine.
        text: key or column of the text.

    Raises:
        InvalidInput: no correction can be kept.
    """
    with open_run(run, settings) as opened:
        read = read_corrections(file, text, pairs=opened.two_texts)
        if not read.corrections:
            first = f"; first: {read.rejected[0].reason}" if read.rejected else ""
            found = in_words(read.counts)
            raise InvalidInput(f"{file}: expected corrections, found none ({found}){first}")
        feedback = opened.cell.parts.feedback
        earlier = () if feedback is None else read_feedback(feedback.path)
        data = opened.task.data
        known = {one.compared for one in earlier}
        rows = [r for r, one in enumerate(data.train.joined()) if compared(one) not in known]
        number = 1 + max((one.round for one in earlier), default=0)
        new = [replace(one, round=number) for one in read.corrections]
        done = screen([*earlier, *new], replace(data, train=data.train.take(rows)))
        name = opened.task.name
    kept = sum(one.round == number for one in done.kept)
    if not kept:
        unknown = next((one for one in done.left_out if one["fate"] == "unknown_label"), None)
        hint = (
            f"; {unknown['label']!r}: {near(unknown['label'], data.labels or ())}"
            if unknown
            else ""
        )
        raise InvalidInput(
            f"{file}: expected corrections that can join the training texts of task {name}, found none of "
            f"{len(new):,} ({in_words(done.counts)}){hint}"
        )
    write_text(out, feedback_lines(done.kept))
    beside = out.with_name(f"{out.stem}.left-out.jsonl")
    beside.unlink(missing_ok=True)
    if done.left_out:
        write_jsonl(beside, done.left_out)
    return Imported(read, done, number, len(earlier), kept, beside if done.left_out else None)
