from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rstitch_local.commands.main import app
from rstitch_local.errors import UsageError
from rstitch_local.routing.forms import FORMS
from rstitch_local.routing.rules import EntropyRouter, HysteresisRouter, WindowRouter
from rstitch_local.routing.spec import one_spelling, router_from_spec, with_tau


def hint(spec: str) -> str:
    with pytest.raises(UsageError) as caught:
        router_from_spec(spec)
    assert caught.value.title == "Unknown router"
    assert f"'{spec.strip()}'" in caught.value.message
    return caught.value.hint


def test_entropy_has_a_default_tau_and_white_space_is_ignored() -> None:
    for spec, tau in (("entropy", 0.02), ("entropy:0", 0.0), (" entropy:1e-3 ", 0.001), ("entropy:-1", -1.0)):
        router = router_from_spec(spec)
        assert type(router) is EntropyRouter
        assert router.tau == tau


@pytest.mark.parametrize("name", FORMS)
def test_every_form_creates_a_router(name: str) -> None:
    form = FORMS[name]
    usual = ":".join((name, *form.usual))
    assert one_spelling(usual) == usual
    assert router_from_spec(usual, seed=3)
    # A missing, superfluous or invalid number is refused.
    more = ("1", "1") if form.optional else ("1",)
    for texts in (form.usual[:-1] if form.usual else ("1",), (*form.usual, *more), (*form.usual[:-1], "x")):
        spec = ":".join((name, *texts))
        if spec != "entropy":
            assert form.spelling in hint(spec)


def test_two_numbers_keep_their_order() -> None:
    router = router_from_spec("window:3:0.25")
    assert isinstance(router, WindowRouter)
    assert router.tau == 0.25
    assert isinstance(router_from_spec("hysteresis:0.5:0.25"), HysteresisRouter)
    assert "LOW above its HIGH" in refusal("hysteresis:0.25:0.5")


def refusal(spec: str) -> str:
    with pytest.raises(UsageError) as caught:
        router_from_spec(spec)
    return caught.value.message


@pytest.mark.parametrize(
    ("spec", "nearest"),
    [
        ("entropi:0.02", "Did you mean entropy:0.02?"),
        ("Entropy:.5", "Did you mean entropy:.5?"),
        ("windows:4:0.01", "Did you mean window:4:0.01?"),
        ("window:8", "Use window:K:TAU, for example window:8:0.003."),
        ("window:5", "Use window:K:TAU, for example window:5:0.003."),
        ("window:0.01", "Use window:K:TAU, for example window:8:0.003."),
        ("window:4:x", "Use window:K:TAU, for example window:4:0.003."),
        ("entropy:0.02:7", "Use entropy:TAU, for example entropy:0.02."),
        ("stay:0:0.5", "Use stay:N:TAU, for example stay:4:0.5."),
        ("hyst:0.9", "Did you mean hysteresis:0.9:0.01?"),
        ("hysteresis:0.001", "Use hysteresis:HIGH:LOW, for example hysteresis:0.03:0.01."),
        ("0.05", "Did you mean entropy:0.05?"),
        ("LLM", "Did you mean llm?"),
        ("slm:1", "Use slm."),
        ("llm:", "Use llm."),
        ("ranodm:0.3", "Did you mean random:0.3?"),
        ("spec", "Use spec:N[:P], for example spec:4."),
        ("spec:6:x", "Use spec:N[:P], for example spec:6."),
        ("spek:6", "Did you mean spec:6?"),
    ],
)
def test_the_nearest_spec_is_suggested(spec: str, nearest: str) -> None:
    assert hint(spec) == nearest


@pytest.mark.parametrize("spec", ["", ":", "foo", "qqq:0.1"])
def test_all_forms_are_listed_if_none_is_near(spec: str) -> None:
    assert all(form.spelling in hint(spec) for form in FORMS.values())


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("entropy:nan", "needs a number for TAU"),
        ("entropy:", "needs a number for TAU"),
        ("confidence:2", "needs a number from 0 to 1 for T"),
        ("random:-1", "needs a number from 0 to 1 for P"),
        ("margin:1.01", "needs a number from 0 to 1 for M"),
        ("momentum:1:0.1", "needs a number from 0 to 0.999 for BETA"),
        ("window:2.5:0.1", "needs a whole number from 1 to 10,000 for K"),
        ("window:99999999999999999999:0.1", "needs a whole number from 1 to 10,000 for K"),
        ("confidence", "takes one number"),
        ("stay:3", "takes two numbers"),
        ("spec:0", "needs a whole number from 1 to 32 for N"),
        ("spec:4:2", "needs a number from 0 to 1 for P"),
        ("spec:4:0.5:1", "takes one or two numbers"),
        ("slm:1", "takes no number"),
    ],
)
def test_the_message_names_the_fault(spec: str, fault: str) -> None:
    assert fault in refusal(spec)


@given(
    st.text(max_size=30)
    | st.builds("{}:{}".format, st.sampled_from(sorted(FORMS)), st.text("0123456789.:-e", max_size=9))
)
def test_any_text_is_a_router_or_is_refused_with_a_valid_suggestion(spec: str) -> None:
    try:
        normal = one_spelling(spec)
    except UsageError as error:
        _, has_example, example = error.hint.rstrip("?.").rpartition("for example ")
        _, has_suggestion, near = error.hint.rstrip("?.").rpartition("Did you mean ")
        if has_example or has_suggestion:
            assert one_spelling(example if has_example else near)
    else:
        assert one_spelling(normal) == normal
        assert type(router_from_spec(normal)) is type(router_from_spec(spec))


def test_specs_are_normalized() -> None:
    for spec, normal in (
        ("entropy", "entropy:0.02"),
        (" entropy:.020", "entropy:0.02"),
        ("entropy:1", "entropy:1.0"),
        ("entropy:-0", "entropy:0.0"),
        ("window:08:3e-3", "window:8:0.003"),
        ("stay:4: 0.02", "stay:4:0.02"),
        ("slm", "slm"),
        ("spec:04", "spec:4"),
        ("spec:4:0", "spec:4"),
        ("spec:4:.50", "spec:4:0.5"),
    ):
        assert one_spelling(spec) == normal


def test_with_tau_replaces_tau_or_falls_back_to_the_entropy_rule() -> None:
    for spec, moved in (
        ("entropy:0.02", "entropy:0.5"),
        ("entropy", "entropy:0.5"),
        ("window:8:0.003", "window:8:0.5"),
        ("momentum:0.7:0.1", "momentum:0.7:0.5"),
        ("one:0.1", "one:0.5"),
        # Without a tau.
        ("hysteresis:0.3:0.1", "entropy:0.5"),
        ("slm", "entropy:0.5"),
    ):
        assert with_tau(spec, 0.5) == moved
    with pytest.raises(UsageError):
        with_tau("nothing", 0.5)


def test_the_help_lists_every_form() -> None:
    # As printed: typer turns words between two colons into emoji.
    output = CliRunner().invoke(app, ["ask", "--help"], env={"COLUMNS": "120"}).output
    assert [form.spelling for form in FORMS.values() if form.spelling not in output] == []


@pytest.mark.parametrize("spec", ["x" * 10_000_000, ":" * 1_000_000, "entropy:" * 100_000, "learned:" + "/x" * 50_000])
def test_a_long_spec_is_refused_in_a_short_message(spec: str) -> None:
    with pytest.raises(UsageError, match="has more than 8,192 characters") as caught:
        router_from_spec(spec)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "spec",
    ["window:" + "9" * 5000 + ":1", f"entropy:0.02{'x' * 5000}", "python:" + "x" * 5000, "entropy:0.02\0", "\x1b[2J"],
)
def test_what_a_spec_contains_is_shortened(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        router_from_spec(spec)
    assert len(str(caught.value)) < 400
    assert not any(ord(character) < 32 for character in str(caught.value))
