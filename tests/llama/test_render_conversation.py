"""render_conversation: every template gets a conversation in a form that it takes, and no text is lost."""

from __future__ import annotations

import json

import chat_templates
import pytest
from chat_templates import TEMPLATES

from rstitch_local.errors import InputError
from rstitch_local.llama.chat_template import ChatTemplate
from rstitch_local.llama.conversation import Messages, render_conversation

SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION = {"role": "user", "content": "How many?"}
ANSWER = {"role": "assistant", "content": "Four."}
FOLLOW_UP = {"role": "user", "content": "  And why?\n"}
LONG = [SYSTEM, QUESTION, ANSWER, FOLLOW_UP]


def render(source: str, messages: Messages, **options: object) -> str:
    return render_conversation(ChatTemplate(source, name="m.gguf", bos="<s>", eos="</s>"), messages, **options)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_writes_every_text(name: str) -> None:
    for messages in (LONG[1:2], LONG[:2], LONG[1:], LONG):
        text = render(TEMPLATES[name], messages)
        assert all(message["content"].strip() in text for message in messages)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_conversation_that_a_template_takes_is_rendered_as_it_is(name: str) -> None:
    template = ChatTemplate(TEMPLATES[name], name="m.gguf")
    try:
        plain = template.render(LONG)
    except InputError:
        return
    if all(message["content"].strip() in plain for message in LONG):
        assert render_conversation(template, LONG) == plain


@pytest.mark.parametrize("name", ["NO_SYSTEM", "IGNORED_SYSTEM", "PARTS_WITHOUT_SYSTEM"])
def test_without_a_system_role_its_text_begins_the_first_question(name: str) -> None:
    source = getattr(chat_templates, name)
    folded = {"role": "user", "content": "Be brief.\n\nHow many?"}
    assert render(source, LONG) == render(source, [folded, ANSWER, FOLLOW_UP])
    assert "Be brief.\n\nHow many?" in render(source, LONG)


def test_several_system_messages_go_to_the_next_question_each() -> None:
    messages = [SYSTEM, {"role": "system", "content": "Be kind."}, QUESTION, ANSWER, SYSTEM, {**FOLLOW_UP}]
    text = render(chat_templates.NO_SYSTEM, messages)
    assert "user\nBe brief.\n\nBe kind.\n\nHow many?<end_of_turn>" in text
    assert "user\nBe brief.\n\n  And why?<end_of_turn>" in text


def test_a_system_message_without_a_question_after_it_is_refused() -> None:
    with pytest.raises(InputError, match="System role not supported"):
        render(chat_templates.NO_SYSTEM, [SYSTEM])
    with pytest.raises(InputError, match="leaves out the text of the system message"):
        render(chat_templates.IGNORED_SYSTEM, [QUESTION, ANSWER, SYSTEM])


def test_texts_are_given_as_parts_where_the_template_takes_nothing_else() -> None:
    assert render(chat_templates.PARTS_ONLY, [SYSTEM, QUESTION]) == (
        "System: Be brief.<end_of_utterance>\nUser: How many?<end_of_utterance>\nAssistant:"
    )
    assert render(chat_templates.PARTS_BUT_SYSTEM, [SYSTEM, QUESTION]) == "[SYS]Be brief.[/SYS][INST]How many?[/INST]"
    # The text of a question may occur in the template: "type" and "text" do.
    for word in ("type", "text", "User", "a", " "):
        assert f"User: {word}<" in render(chat_templates.PARTS_ONLY, [{"role": "user", "content": word}])


def test_a_template_that_writes_nothing_without_parts_gets_them() -> None:
    source = "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"
    assert render(source, [QUESTION]) == "How many?"


def test_given_parts_are_passed_on() -> None:
    parts = [{"type": "text", "text": "How"}, {"type": "image"}, {"type": "text", "text": "many?"}]
    messages = [{"role": "user", "content": parts}]
    assert render(chat_templates.PARTS_ONLY, messages).startswith("User: How<image>many?<end_of_utterance>")


@pytest.mark.parametrize(
    "source",
    [
        "Hello",
        "{% for m in messages[:-1] %}{{ m.content }}{% endfor %}",
        "{{ messages[0].content }}",
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% endif %}{% endfor %}",
        "{% for m in messages %}{{ m.content[:4] }}{% endfor %}",
        "{% for m in messages %}{{ m.content | upper }}{% endfor %}",
    ],
)
def test_a_template_that_leaves_out_a_text_is_refused(source: str) -> None:
    with pytest.raises(InputError) as caught:
        render(source, LONG)
    assert caught.value.title == "Rejected by chat template"
    assert "m.gguf: the template leaves out the text of the " in caught.value.message


def test_a_text_that_is_left_out_for_what_it_says_is_refused() -> None:
    source = "{% for m in messages %}>{% if 'x' not in m.content %}{{ m.content }}{% endif %}{% endfor %}"
    assert render(source, [QUESTION]) == ">How many?"
    with pytest.raises(InputError, match="leaves out the text of the user message"):
        render(source, [{"role": "user", "content": "Solve 2x = 4."}])


def test_a_switch_may_be_taken_out() -> None:
    messages = [{"role": "system", "content": "/no_think"}, QUESTION]
    assert "Reasoning Mode: /no_think" in render(chat_templates.GENERATION_BLOCK, messages)
    assert "user\nHow?\n" in render(chat_templates.REMOVED_SWITCH, [{"role": "user", "content": "How? /no_think"}])


def test_earlier_reasoning_may_be_left_out() -> None:
    answer = {"role": "assistant", "content": "<think>Hm, three, four.</think>\n\nFour."}
    text = render(chat_templates.LAST_QUERY, [QUESTION, answer, FOLLOW_UP])
    assert "Hm, three" not in text
    assert "assistant\nFour.<|im_end|>" in text


def test_encoded_texts_are_found() -> None:
    content = 'He said "é\\漢👩‍🚀"\n\tthen 1 < 2.'
    messages = [{"role": "user", "content": content}]
    assert json.dumps(content, ensure_ascii=False) in render(chat_templates.JSON, messages)
    assert json.dumps(content) in render(chat_templates.ASCII_JSON, messages)


def test_an_error_of_the_template_is_the_one_for_the_conversation_as_it_was_given() -> None:
    with pytest.raises(InputError, match="Conversation roles must alternate"):
        render(chat_templates.NO_SYSTEM, [QUESTION, QUESTION])


def test_options_reach_the_template() -> None:
    assert render(chat_templates.LAST_QUERY, [QUESTION], enable_thinking=False).endswith("<think>\n\n</think>\n\n")
