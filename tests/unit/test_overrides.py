"""Values of Python as overrides in Hydra's grammar."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from shortlist.errors import InvalidInput
from shortlist.overrides import override, without_axes


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


def test_commas_inside_of_a_value_make_no_axis() -> None:
    single = ["a=[1,2]", "b={x: 1, y: 2}", "c='1,2'", "d=1", "~e"]
    assert without_axes([*single, "f=1,2", "seed=range(3)"]) == single
    with pytest.raises(InvalidInput, match="g="):
        without_axes(["g=[1,2"])
