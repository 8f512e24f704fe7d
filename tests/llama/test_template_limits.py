"""Hostile templates end with an error within the limits, and templates of real models are not affected."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from rstitch_local.errors import InputError, ModelError
from rstitch_local.llama import template_limits
from rstitch_local.llama.chat_template import ChatTemplate

USER = [{"role": "user", "content": "Hi"}]
LIMIT_S = 0.3


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A short time, and a limit of memory: a failing test must not take that of the machine."""
    monkeypatch.setattr(template_limits, "TIME_LIMIT_S", LIMIT_S)
    if sys.platform != "linux":
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def render(source: str, messages: list[dict[str, str]] | None = None) -> str:
    return ChatTemplate(source, name="m.gguf").render(USER if messages is None else messages)


LOOPS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}"
    "{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) if b < 0 %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) recursive %}{{ loop(range(99999)) }}{% endfor %}",
    "{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(90) }}",
    "{% macro m(n) %}{% if n %}{% call m(n - 1) %}{% endcall %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(90) }}",
    "{% set x = range(99999) %}{% for a in x %}{% set y = x | map('string') | list | length %}{% endfor %}",
    "{{ range(99999) | map('replace', '1', '2') | map('replace', '1', '2') | list | length }}{{"
    " range(99999) | map('string')"
    " | map('upper') | map('lower') | map('trim') | map('title') | map('upper') | map('lower') | list | length }}" * 9,
    "{% for a in range(99999) %}{% for b in range(99999) %}{{ 'x' }}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% set x = range(99999) | sort | length %}{% endfor %}",
    "{% for a in range(99999) %}{% if range(99999) | list == range(99999) | list %}{% endif %}{% endfor %}",
    "{% for a in range(99999) %}{% if 'b' in 'a' * 1000000 %}{% endif %}{% endfor %}",
]

GROWTH = [
    "{{ 9 ** (9 ** 9) }}",
    "{% set a = 9 %}{% set b = a ** 99999 ** 2 %}{{ b }}",
    "{% set n = namespace(x=3) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=3) %}{% for i in range(99) %}{% set n.x = n.x ** 9 %}{% endfor %}{{ n.x }}",
    "{{ 'a' * 10 ** 11 }}",
    "{{ 10 ** 11 * 'a' }}",
    "{{ [1] * 10 ** 10 }}",
    "{{ ([[1] * 9999] * 9999) | string }}",
    "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = [n.s, n.s] %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s=(1,)) %}{% for i in range(99) %}{% set n.s = (n.s, n.s) %}{% endfor %}{{ n.s == n.s }}",
    "{% set n = namespace(s={}) %}{% for i in range(99) %}{% set n.s = {'a': n.s, 'b': n.s} %}"
    "{% endfor %}{{ n.s | tojson }}",
    "{% set n = namespace(s={}) %}{% for i in range(99) %}{% set n.s = dict(a=n.s, b=n.s) %}"
    "{% endfor %}{{ n.s | tojson }}",
    "{% set n = namespace(s='ab') %}{% for i in range(99) %}{% set s %}{{ n.s }}{{ n.s }}{% endset %}{% set n.s = s %}"
    "{% endfor %}{{ n.s }}",
    "{% macro m(s) %}{{ s }}{{ s }}{% endmacro %}{% set n = namespace(s='ab') %}{% for i in range(99) %}"
    "{% set n.s = m(n.s) %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = [n.s, n.s] | join %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = '%s%s' % (n.s, n.s) %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = '{0}{0}'.format(n.s) %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s.replace('a', 'aa') %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s='a') %}{% for i in range(99) %}"
    "{% set n.s = n.s | replace('a', 'aa') %}{% endfor %}{{ n.s }}",
    "{% set n = namespace(s='a') %}{% for i in range(99) %}"
    "{% set n.s = n.s | indent(999999, true) %}{% endfor %}{{ n.s }}",
    "{{ ('a' * 5000000) | replace('a', 'b' * 5000000) }}",
    "{{ ('a' * 5000000).replace('', 'b' * 5000000) }}",
    "{{ ('b' * 5000000).join('a' * 5000000) }}",
    "{{ range(99999) | join('a' * 5000000) }}",
    "{{ range(99999) | map('string') | join('a' * 5000000) }}",
    "{{ ('\t' * 5000000).expandtabs(99999) }}",
    "{{ ('a' * 5000000).translate({97: 'b' * 5000000}) }}",
    "{{ ('\n' * 5000000) | indent(99999) }}",
    "{{ ('%s' * 999999) % ((('a' * 5000000),) * 1) }}",
    "{{ ('%(a)s' * 99999) % {'a': 'a' * 5000000} }}",
    "{{ ('{0}' * 99999).format('a' * 5000000) }}",
    "{{ ('%s' * 99999) | format('a' * 5000000) }}",
    "{{ ''.ljust(10 ** 10) }}",
    "{{ ''.rjust(10 ** 10) }}",
    "{{ ''.center(10 ** 10) }}",
    "{{ ''.zfill(10 ** 10) }}",
    "{{ '' | center(10 ** 10) }}",
    "{{ 'a' | indent(10 ** 10, true) }}",
    "{{ [1] | batch(10 ** 10, 0) | list }}",
    "{{ [1] | slice(10 ** 10) | list }}",
    "{{ 'a' | wordwrap(1, wrapstring='b' * 10 ** 9) }}",
    "{{ {'a': 1} | tojson(indent=10 ** 10) }}",
    "{{ '%99999999999d' % 1 }}",
    "{{ '%*d' % (10 ** 10, 1) }}",
    "{{ '%.99999999f' % 1.5 }}",
    "{{ '{:99999999999}'.format(1) }}",
    "{{ '{:{}}'.format(1, 10 ** 10) }}",
    "{{ '{0:{1}}'.format_map([1, 10 ** 10]) }}",
    "{{ '%99999999999d' | format(1) }}",
    "{{ (5).to_bytes(10 ** 10, 'big') }}",
    "{{ 1.5 | round(10 ** 10) }}",
    "{{ 1.5 | round(99999999, 'ceil') }}",
    "{{ lipsum(n=10 ** 9) }}",
    "{{ ('é' * 5000000).encode('punycode') }}",
    "{{ ('é' * 5000000).encode('idna') }}",
    "{{ ('<' * 5000000) | striptags }}",
    "{{ (('<' * 5000000) | safe).striptags() }}",
    "{{ ([[1]] * 99999) | sum(start=[]) | length }}{{ ([[1] * 99] * 9999) | sum(start=[]) | length }}",
    "{% for i in range(99999) %}{{ 'a' * 5000000 }}{% endfor %}",
    "{% set s = 'a' * 5000000 %}{% for i in range(99999) %}{{ s }}{% endfor %}",
    "{% set n = namespace() %}{% set n.n = n %}{% for i in range(99) %}"
    "{% set n.s = [n.s, n.s, 'a' * 9] %}{% endfor %}{{ n.s }}",
]


@pytest.mark.parametrize("source", [*LOOPS, *GROWTH])
def test_hostile_templates_end_soon(source: str) -> None:
    started = time.monotonic()
    with pytest.raises((ModelError, InputError)) as caught:
        render("Text. " + source)
    # A single operation of the largest size may still take a while, above all on a busy machine.
    assert time.monotonic() - started < 10 * LIMIT_S + 5
    assert "m.gguf" in caught.value.message
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("source", [source for source in LOOPS if "macro" not in source and "recursive" not in source])
def test_the_clock_is_named(source: str) -> None:
    with pytest.raises(ModelError, match=r"m\.gguf: the template was not rendered within 0\.3 seconds\."):
        render("Text. " + source)


def test_a_template_that_turns_hostile_later() -> None:
    template = ChatTemplate(
        "{{ messages[0].content }}{% if messages | length > 1 %}" + LOOPS[0] + "{% endif %}", name="m"
    )
    assert template.render(USER) == "Hi"
    with pytest.raises(ModelError):
        template.render(USER * 2)
    assert template.render(USER) == "Hi"


def test_long_conversations_are_rendered() -> None:
    messages = [{"role": "user", "content": "word " * 4_000_000}, *[{"role": "user", "content": "Hi"}] * 1000]
    source = "{% for message in messages %}{{ '<' + message.role ~ '>' + message.content | trim }}{% endfor %}"
    assert len(render(source, messages)) > 20_000_000


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ [1, 2, 3] | sum }} {{ messages | sum(attribute='x', start=0) if false else 'no' }}", "6 no"),
        ("{{ [[1], [2]] | sum(start=[]) }}", "[1, 2]"),
        ("{{ [{'n': 2}, {'n': 3}] | sum(attribute='n') }}", "5"),
        ("{{ [{'n': 2}] | sum('n') }}", "2"),
        ("{{ 'a,b'.split(',') | join('-') }} {{ '-'.join(['a', 'b']) }}", "a-b a-b"),
        ("{{ messages | map(attribute='role') | map('upper') | join(', ') }}", "USER"),
        (
            "{{ 2 ** 10 }} {{ 7 % 4 }} {{ 3 * 4 }} {{ 'ab' * 2 }} {{ 1.5 * 2 }} {{ [1] + [2] }}",
            "1024 3 12 abab 3.0 [1, 2]",
        ),
        (
            "{{ '%s is %d' % ('a', 5) }} {{ '{}-{:>3}'.format('a', 5) }} {{ '%05.1f' | format(2.25) }}",
            "a is 5 a-  5 002.2",
        ),
        ("{{ 'a\nb' | indent(2) }}|{{ 'x' | center(5) }}|{{ 'a b' | replace(' ', '') }}", "a\n  b|  x  |ab"),
        ("{% set n = namespace(found=false, list=[]) %}{% set n.found = true %}{{ n.found }}", "True"),
        ("{% set a, b = 1, 2 %}{% for k, v in {'x': 1}.items() %}{{ k }}{{ v }}{{ a }}{{ b }}{% endfor %}", "x112"),
        ("{% for m in messages %}{{ loop.index }}{{ loop.last }}{{ loop.length }}{% endfor %}", "1True1"),
        ("{% for x in [1, [2, [3]]] recursive %}{{ x if x is number else loop(x) }}{% endfor %}", "123"),
        (
            "{% macro m(x) %}<{{ x }}{{ caller() if caller else '' }}>{% endmacro %}{% call m(1) %}c{% endcall %}",
            "<1c>",
        ),
        ("{% filter upper %}a{% endfilter %}{% set s %}b{% endset %}{{ s ~ 1 ~ none }}", "Ab1None"),
        ("{{ messages[0].get('x', 10 ** 9) }} {{ nobody | default(10 ** 9) }}", "1000000000 1000000000"),
        ("{{ range(3) | list }} {{ [3, 1] | sort }} {{ (1, 2) | reverse | list }}", "[0, 1, 2] [1, 3] [2, 1]"),
        (
            "{{ {'a': [1]} | tojson(indent=2) | length }} {{ 'a'.encode('utf-8').decode() }} {{ 2.5 | round }}",
            "22 a 2.0",
        ),
        ("{{ 'a' in ['a', 'b'] }} {{ messages[0:1] == messages }} {{ 'Hi' in messages[0].content }}", "True True True"),
    ],
)
def test_ordinary_templates_are_rendered(source: str, expected: str) -> None:
    assert render(source) == expected


@pytest.mark.parametrize("source", ["", "{{ '' }}", "{% for m in messages %}{% endfor %}"])
def test_an_empty_prompt_is_refused(source: str) -> None:
    with pytest.raises(ModelError) as caught:
        render(source)
    assert caught.value.title == "Empty prompt"
    assert "m.gguf" in caught.value.message


def test_a_long_message_of_a_template_is_cut() -> None:
    with pytest.raises(InputError) as caught:
        render("{{ raise_exception('a' * 1000000) }}")
    assert len(caught.value.message) < 1000
