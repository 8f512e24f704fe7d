"""ChatTemplate: rendering, the sandbox, and errors for templates that fail."""

from __future__ import annotations

import datetime

import pytest
from chat_templates import QUEUE
from tiny_pair import CHATML

from rstitch_local.errors import InputError, ModelError
from rstitch_local.llama.chat_template import ChatTemplate

USER = [{"role": "user", "content": "Hi"}]


def render(source: str, **options: object) -> str:
    return ChatTemplate(source, name="m.gguf", bos="<s>", eos="</s>").render(USER, **options)


def test_prompt_ends_with_the_start_of_the_answer() -> None:
    template = ChatTemplate(CHATML, name="m.gguf")
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Ho"},
        {"role": "user", "content": "{{ 1 + 1 }} <b>&amp;"},
    ]
    assert template.render(messages) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n"
        "<|im_start|>user\n{{ 1 + 1 }} <b>&amp;<|im_end|>\n<|im_start|>assistant\n"
    )


def test_no_system_prompt_is_added() -> None:
    assert "system" not in ChatTemplate(CHATML, name="m.gguf").render(USER)


def test_template_can_add_a_system_prompt() -> None:
    source = "{% if messages[0].role != 'system' %}You are helpful. {% endif %}{{ messages[-1]['content'] }}"
    assert render(source) == "You are helpful. Hi"


def test_special_tokens_and_options_reach_the_template() -> None:
    assert render("{{ bos_token }}{{ eos_token }}") == "<s></s>"
    source = "{{ 'off' if enable_thinking is defined and not enable_thinking else 'on' }}"
    assert (render(source), render(source, enable_thinking=False)) == ("on", "off")
    assert ChatTemplate(source, name="m").has_thinking_switch
    assert not ChatTemplate(CHATML, name="m").has_thinking_switch


def test_blocks_leave_no_blank_lines() -> None:
    assert render("a\n   {% if true %}\nb\n   {% endif %}\nc") == "a\nb\nc"


def test_loops_support_break_and_continue() -> None:
    source = (
        "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}"
    )
    assert render(source + "{% endfor %}") == "023"


def test_generation_blocks_are_read_through() -> None:
    source = "{% for m in messages %}{% generation %}[{{ m.content }}{% set x = 1 %}]{% endgeneration %}{% endfor %}!"
    assert render(source) == "[Hi]!"
    assert render("a\n  {%- generation -%}\n  b\n  {%- endgeneration %}\nc") == "abc"
    assert (
        render("{% generation %}{% if true %}{% generation %}x{% endgeneration %}{% endif %}{% endgeneration %}") == "x"
    )
    with pytest.raises(ModelError, match="endgeneration"):
        ChatTemplate("{% generation %}x", name="m.gguf")


def test_a_list_that_the_template_made_can_be_a_queue() -> None:
    source = (
        "{% set q = namespace(ids=[]) %}{% set _ = q.ids.append(3) %}{% set _ = q.ids.append(4) %}{{ q.ids.pop(0) }}"
    )
    assert render(source + "{{ q.ids }}") == "3[4]"
    calls = [{"function": {"name": "add"}}, {"function": {"name": "sub"}}]
    messages: list[dict[str, object]] = [
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "7"},
        {"role": "tool", "content": "8", "name": "calc"},
    ]
    assert ChatTemplate(QUEUE, name="m.gguf").render(messages) == (
        "<|im_start|>assistant\n<|im_end|><|im_start|>tool\n## Return of functions.add\n7<|im_end|>"
        "<|im_start|>calc\n## Return of functions.sub\n8<|im_end|><|im_start|>assistant\n"
    )


@pytest.mark.parametrize(
    "change", ["messages.append(1)", "messages.pop()", "messages[0].content.append(1)", "[].clear()"]
)
def test_a_list_of_the_conversation_cannot_be_changed(change: str) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    with pytest.raises(InputError, match=r"m\.gguf: "):
        ChatTemplate("{{ " + change + " }}", name="m.gguf").render(messages)
    assert messages == [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]


def test_tojson_does_not_escape_html() -> None:
    assert render("{{ {'a': '<ü>'} | tojson }}") == '{"a": "<ü>"}'
    assert render("{{ {'a': 1} | tojson(indent=2) }}") == '{\n  "a": 1\n}'
    assert render("{{ {'b': 1, 'a': 2} | tojson(separators=(',', ':'), sort_keys=true) }}") == '{"a":2,"b":1}'
    assert render("{{ 'ü👩' | tojson(ensure_ascii=true) }}") == '"\\u00fc\\ud83d\\udc69"'


def test_template_can_format_the_date() -> None:
    today = datetime.datetime.now().strftime("%Y")
    assert render("{{ strftime_now('%Y') }}") in (today, str(int(today) + 1))


def test_message_of_raise_exception_is_shown() -> None:
    with pytest.raises(InputError) as caught:
        render("{{ raise_exception('System role not supported') }}")
    assert caught.value.title == "Rejected by chat template"
    assert caught.value.message == "m.gguf: System role not supported"


@pytest.mark.parametrize(
    "expression",
    [
        "''.__class__.__mro__",
        "''.__class__.__mro__[1].__subclasses__()",
        "''['__class__']['__mro__']",
        "(''|attr('__class__')).__mro__",
        "messages.__init__.__globals__.x",
        "raise_exception.__globals__['json'].x",
        "strftime_now.__globals__['datetime'].x",
        "cycler.__init__.__globals__.os.popen('true').read()",
        "'{0.__class__.__mro__}'.format('')",
        "'%s'.__mod__(1)",
        "self.__init__.__globals__.x",
        "lipsum.__globals__['os'].getcwd()",
        "messages.append({'role': 'user'})",
        "messages[0].update({'content': 'other'})",
        "messages.clear()",
    ],
)
def test_template_cannot_leave_the_sandbox(expression: str) -> None:
    with pytest.raises(InputError) as caught:
        render("{{ " + expression + " }}")
    assert caught.value.message.startswith("m.gguf: ")
    assert USER == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("expression", ["''.__class__", "raise_exception.__globals__", "strftime_now.__code__"])
def test_hidden_attributes_are_empty(expression: str) -> None:
    assert render("text{{ " + expression + " }}") == "text"


@pytest.mark.parametrize(
    "source",
    [
        "{{ 1 / 0 }}",
        "{{ 'a' + 1 }}",
        "{{ messages[7].content.x }}",
        "{{ nobody.home }}",
        "{{ 1 | dictsort }}",
        "{{ nobody | tojson }}",
        "{{ 'x' | int(base=99) + 'y' }}",
        "{% for i in range(999999999) %}{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{% include 'other' %}",
        "{% import 'os' as os %}",
        "{{ strftime_now(5) }}",
    ],
)
def test_failure_while_rendering_is_an_input_error(source: str) -> None:
    with pytest.raises(InputError, match=r"m\.gguf: ."):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% if %}",
        "{{ 1 +",
        "{% nonsense %}",
        "{% for %}x",
        "(" * 10 + "{{" + "(" * 50_000,
        "{% for x in y %}" * 30 + "{% endfor %}" * 30,
        "{{ " + "1" * 5000 + " }}",
        "{{ " + "[" * 300 + "]" * 300 + " }}",
    ],
)
def test_invalid_template_is_a_model_error(source: str) -> None:
    with pytest.raises(ModelError) as caught:
        ChatTemplate(source, name="m.gguf")
    assert caught.value.title == "Invalid chat template"
    assert "m.gguf" in caught.value.message


def test_missing_template_has_a_hint() -> None:
    with pytest.raises(ModelError) as caught:
        ChatTemplate(None, name="m.gguf")
    assert caught.value.title == "No chat template"
    assert "m.gguf" in caught.value.message
    assert "chat_template" in caught.value.hint
