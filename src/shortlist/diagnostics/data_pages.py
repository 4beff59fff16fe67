"""Pages on data: what a preparation did to a pool, and what the checks of a task found."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence

from shortlist.data.splits import SPLITS
from shortlist.diagnostics.datasheet.page import Datasheet, Example, Fact, Group, Section
from shortlist.kernels.words import PLACEHOLDER
from shortlist.prepare.base import UNSTABLE, Prepared
from shortlist.prepare.checks import LabelIssue, Row, TaskChecks
from shortlist.rendering.tables import TextCell, TextTable

EXAMPLES = 5  # documents of each operation
LISTED = 25  # findings of each kind that a page lists; all are in the JSON
SHOWN = 400  # characters of a text
CONTEXT = 60  # characters around an edit


def preparation_page(
    title: str, texts: Sequence[str], prepared: Prepared, rejected: Mapping[str, int]
) -> Datasheet:
    """Returns the page of a preparation: rows by fate, rules, edits, personal data, examples.

    Args:
        title: what was prepared.
        texts: the texts before.
        prepared: the result.
        rejected: rows that were left out before the first operation, by reason.
    """
    counts = prepared.counts
    read, kept = counts["rows_read"], counts["kept"]
    before = sum(map(len, texts))
    after = sum(len(prepared.texts[row]) for row in prepared.kept)
    facts = (
        Fact("documents read", f"{read:,}"),
        Fact("kept", f"{kept:,}", _share(kept, read)),
        Fact("dropped", f"{counts['dropped']:,}", _share(counts["dropped"], read)),
        Fact("edited", f"{sum(map(bool, prepared.edited)):,}"),
        Fact("characters", f"{after:,}", f"{_share(after, before)} of {before:,}"),
    )
    warnings = [
        f"{count:,} rows left out before: {reason}" for reason, count in rejected.items() if count
    ]
    sections = [_operations(prepared, counts), _rules(prepared, counts)]
    personal = _personal(texts, prepared)
    if personal.rows:
        sections.append(Section("personal", "Personal data", tables=(personal,)))
    sections.append(
        Section(
            "examples",
            "Examples",
            f"At most {EXAMPLES} documents of each operation; rows are those of the pool sorted by id.",
            groups=(*_dropped(texts, prepared), *_edited(texts, prepared)),
        )
    )
    lead = f"Operations in order: {', '.join(prepared.operations) or 'none'}."
    return Datasheet(
        title, lead, facts, tuple(warnings), tuple(sections), "Report of a preparation"
    )


def _operations(prepared: Prepared, counts: Mapping[str, int]) -> Section:
    most = max([counts.get(f"dropped.{name}", 0) for name in prepared.operations], default=0) or 1
    rows = [
        (
            TextCell(name),
            TextCell(f"{counts.get(f'edited.{name}', 0):,}"),
            TextCell(f"{dropped:,}", dropped / most, "chosen"),
            TextCell(_share(dropped, counts["rows_read"])),
        )
        for name in (*prepared.operations, *([UNSTABLE] if f"dropped.{UNSTABLE}" in counts else []))
        for dropped in [counts.get(f"dropped.{name}", 0)]
    ]
    note = (
        "A document is counted as dropped once, at the first rule that it fails. Edited documents may be "
        "dropped by a later operation."
    )
    table = TextTable("", ("operation", "edited", "dropped", "of read"), tuple(rows), note)
    return Section("operations", "Operations", tables=(table,))


def _rules(prepared: Prepared, counts: Mapping[str, int]) -> Section:
    failed = {
        key.removeprefix("failed."): n for key, n in counts.items() if key.startswith("failed.")
    }
    alone = Counter(rules[0] for rules in prepared.failed if len(rules) == 1)
    rows = [
        (
            TextCell(rule),
            TextCell(f"{count:,}", count / max(failed.values()), "chosen"),
            TextCell(f"{alone[rule]:,}"),
        )
        for rule, count in sorted(failed.items(), key=lambda item: (-item[1], item[0]))
    ]
    note = "Alone: documents that fail this rule and no other."
    table = TextTable(
        "", ("rule", "documents", "alone"), tuple(rows), note if rows else "No rule failed."
    )
    return Section("rules", "Failed rules", tables=(table,))


def personal_counts(texts: Sequence[str], prepared: Prepared) -> dict[str, dict[str, int]]:
    """Returns how many values of each kind were replaced in the documents that are kept, and in how
    many documents: `{"email": {"replaced": 3, "documents": 2}}`, the most frequent kind first.
    """
    kinds: Counter[str] = Counter()
    documents: Counter[str] = Counter()
    for row in prepared.kept:
        found = Counter(PLACEHOLDER.findall(prepared.texts[row]))
        found.subtract(Counter(PLACEHOLDER.findall(texts[row])))
        new = Counter(
            name[1:].rpartition("_")[0].lower() for name, n in found.items() for _ in range(n)
        )
        kinds.update(new)
        documents.update(new.keys())
    return {
        kind: {"replaced": count, "documents": documents[kind]}
        for kind, count in kinds.most_common()
    }


def _personal(texts: Sequence[str], prepared: Prepared) -> TextTable:
    rows = [
        (
            TextCell(kind),
            TextCell(f"{counts['replaced']:,}"),
            TextCell(f"{counts['documents']:,}"),
            TextCell(_share(counts["documents"], len(prepared.kept))),
        )
        for kind, counts in personal_counts(texts, prepared).items()
    ]
    return TextTable("", ("kind", "replaced", "documents", "of kept"), tuple(rows))


def _dropped(texts: Sequence[str], prepared: Prepared) -> list[Group]:
    groups: list[Group] = []
    for name in prepared.operations:
        rows = [
            row
            for row, failed in enumerate(prepared.failed)
            if failed and failed[0].split(".")[0] == name
        ]
        examples = tuple(
            Example(f"row {row + 1}", "", _short(texts[row]), prepared.failed[row])
            for row in rows[:EXAMPLES]
        )
        if rows:
            groups.append(Group(f"Dropped by {name}", _listed(len(examples), len(rows)), examples))
    return groups


def _edited(texts: Sequence[str], prepared: Prepared) -> list[Group]:
    groups: list[Group] = []
    for name in prepared.operations:
        rows = [
            row
            for row, edits in enumerate(prepared.edited)
            if name in edits and not prepared.failed[row]
        ]
        examples = tuple(
            Example(
                f"row {row + 1}",
                "",
                _difference(texts[row], prepared.texts[row]),
                prepared.edited[row],
            )
            for row in rows[:EXAMPLES]
        )
        if rows:
            groups.append(Group(f"Edited by {name}", _listed(len(examples), len(rows)), examples))
    return groups


def _difference(before: str, after: str) -> str:
    """Returns the first changed places as `{before => after}` with some text around them."""
    before, after = before[:2000], after[:2000]
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    parts: list[str] = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            same = before[a:b]
            parts.append(
                same if len(same) <= 2 * CONTEXT else f"{same[:CONTEXT]} … {same[-CONTEXT:]}"
            )
        else:
            parts.append(f"{{{before[a:b]!r} => {after[c:d]!r}}}")
    return _short("".join(parts))


def task_page(checks: TaskChecks) -> Datasheet:
    """Returns the page of the checks of a task."""
    counts = checks.counts
    sizes = checks.sizes
    facts = (
        *(Fact(split, f"{sizes[split]:,}") for split in SPLITS),
        Fact("contradictory texts", f"{counts['contradictory_texts']:,}"),
        Fact(
            "near-copied test rows",
            f"{counts['near_copied_test_rows']:,}",
            _share(counts["near_copied_test_rows"], sizes["test"]),
        ),
        Fact(
            "likely label errors",
            f"{len(checks.issues):,}",
            "not looked for" if checks.why_not else "",
        ),
    )
    sections = (
        Section("classes", "Classes and lengths", tables=(_classes(checks), _length_table(checks))),
        _contradictions(checks),
        _copies(checks),
        _issues(checks),
        _leaks(checks),
        _extremes(checks),
    )
    lead = (
        "Nothing was changed. A page lists the first findings of each kind, the JSON beside it all of "
        "them; whether a finding is a fault is for a person to say."
    )
    return Datasheet(f"Task {checks.task}", lead, facts, (), sections, "Checks of a task")


def _classes(checks: TaskChecks) -> TextTable:
    most = {
        split: max([row[split] for row in checks.classes.values()], default=0) or 1
        for split in SPLITS
    }
    rows = tuple(
        (
            TextCell(label),
            *(
                TextCell(
                    f"{row[split]:,} ({_share(row[split], checks.sizes[split])})",
                    row[split] / most[split],
                    "chosen" if split == "train" else "pool",
                )
                for split in SPLITS
            ),
        )
        for label, row in checks.classes.items()
    )
    return TextTable(
        "Rows by class", ("class", *SPLITS), rows, "" if rows else "The task has no classes."
    )


def _length_table(checks: TaskChecks) -> TextTable:
    rows = tuple(
        (TextCell(split), *(TextCell(f"{value:,.0f}") for value in values))
        for split, values in checks.lengths.items()
    )
    return TextTable("Characters", ("split", "shortest", "median", "longest"), rows)


def _contradictions(checks: TaskChecks) -> Section:
    counts = checks.counts
    examples = tuple(
        Example(
            ", ".join(sorted({row.split for row in one.rows})),
            f"{len(one.rows)} rows",
            _short(one.rows[0].text),
            tuple(f"{row.split}: {row.label}" for row in one.rows[:8]),
        )
        for one in checks.contradictions[:LISTED]
    )
    lead = (
        f"Texts that are equal (case, punctuation and white space ignored) and have different labels: "
        f"{counts['contradictory_texts']:,}, of which {counts['contradictory_texts_with_evaluation_rows']:,} "
        "involve a validation or test row."
    )
    return _findings(
        "contradictions", "Contradictory duplicates", lead, examples, len(checks.contradictions)
    )


def _copies(checks: TaskChecks) -> Section:
    counts = checks.counts
    examples = tuple(
        Example(
            copy.row.split,
            f"containment {copy.containment:.2f}",
            _short(copy.row.text, SHOWN // 2) + "\n\u2248 " + _short(copy.of.text, SHOWN // 2),
            (copy.row.label, f"train: {copy.of.label}", *(["equal"] if copy.exact else [])),
        )
        for copy in sorted(
            checks.copies, key=lambda copy: (copy.row.split != "test", -copy.containment)
        )[:LISTED]
    )
    lead = (
        f"Test rows that nearly repeat a training row: {counts['near_copied_test_rows']:,} "
        f"({_share(counts['near_copied_test_rows'], checks.sizes['test'])}), "
        f"{counts['exactly_copied_test_rows']:,} of them equal, "
        f"{counts['near_copied_test_rows_of_another_label']:,} with another label; validation rows: "
        f"{counts['near_copied_validation_rows']:,}. "
        f"{counts['test_rows_that_share_13_words_with_train']:,} test rows share 13 consecutive words with "
        "a training row. Near: half of all five-word shingles are shared, or "
        "seven tenths of those of the shorter text."
    )
    return _findings("copies", "Copies across splits", lead, examples, len(checks.copies))


def _issues(checks: TaskChecks) -> Section:
    def example(issue: LabelIssue) -> Example:
        score = f"{issue.given:.2f} → {issue.probability:.2f}"
        return Example(
            issue.row.label, score, _short(issue.row.text), (f"suggested: {issue.suggested}",)
        )

    lead = checks.why_not and f"Not looked for: {checks.why_not}."
    if not lead:
        judged = checks.sizes["train"] - checks.not_judged
        lead = (
            f"Training rows that a classifier on words, trained without them, is confident have another "
            f"class (confident learning): {len(checks.issues):,} of {judged:,} "
            f"({_share(len(checks.issues), judged)}). Its out-of-fold accuracy is {checks.accuracy:.3f}: "
            "where that is low, most of these rows are merely hard."
        )
        lead += f" {checks.not_judged:,} rows were not judged." if checks.not_judged else ""
    examples = tuple(map(example, checks.issues[:LISTED]))
    return _findings("labels", "Likely label errors", lead, examples, len(checks.issues))


def _leaks(checks: TaskChecks) -> Section:
    rows = tuple(
        (
            TextCell(leak.token),
            TextCell(leak.label),
            TextCell(f"{leak.rows:,}"),
            TextCell(f"{leak.test:,}"),
            TextCell(f"{leak.p:.1e}"),
        )
        for leak in checks.leaks[:LISTED]
    )
    note = _listed(len(rows), len(checks.leaks)) if rows else "None found."
    table = TextTable("", ("token", "class", "train", "test", "p"), rows, note, left=2)
    lead = (
        "Numbers, names with digits, handles and addresses that stand in rows of one class alone: a model "
        "may learn the token in place of the text."
    )
    return Section("leakage", "Id-like tokens", lead, tables=(table,))


def _extremes(checks: TaskChecks) -> Section:
    def group(title: str, rows: Sequence[Row]) -> Group:
        examples = tuple(
            Example(row.split, f"{len(row.text):,} characters", _short(row.text), (row.label,))
            for row in rows[:LISTED]
        )
        return Group(title, _listed(len(examples), len(rows)), examples)

    groups = [
        group(title, rows)
        for title, rows in (("Shortest texts", checks.short), ("Longest texts", checks.long))
        if rows
    ]
    lead = "" if groups else "No empty and no extremely long texts."
    return Section("lengths", "Empty and extreme lengths", lead, groups=tuple(groups))


def _findings(
    name: str, title: str, lead: str, examples: tuple[Example, ...], found: int
) -> Section:
    groups = (Group(title, _listed(len(examples), found), examples),) if examples else ()
    return Section(name, title, lead, groups=groups)


def _listed(shown: int, found: int) -> str:
    return "" if shown == found else f"{shown:,} of {found:,} are listed."


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""


def _short(text: str, most: int = SHOWN) -> str:
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= most else f"{text[:most]} …"
