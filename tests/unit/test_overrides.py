"""Values of Python as overrides in Hydra's grammar."""

from __future__ import annotations

from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from shortlist.overrides import override


@example("null").via("a word of the grammar")
@example("Inf").via("a word of the grammar")
@given(st.text(st.sampled_from("ab '\"\\,=[]{}()$:~!*?#é\n.-"), max_size=12).filter(str.strip))
def test_any_text_passes_through_the_grammar_of_overrides(text: str) -> None:
    if "${" in text or text.strip() != text:
        return
    typed = override("name", ["first", text])
    parsed = OverridesParser.create().parse_override(typed).value()
    assert OmegaConf.create({"name": parsed})["name"][1] == text


def test_interpolations_in_a_path_are_a_path() -> None:
    parsed = OverridesParser.create().parse_override(override("name", "a${b}'c")).value()
    assert OmegaConf.create({"name": parsed})["name"] == "a${b}'c"
