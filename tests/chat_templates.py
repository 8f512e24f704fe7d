"""Small chat templates with what is characteristic of public ones: how they cut, encode, test and move contents."""

from __future__ import annotations

TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)

DEFAULT_SYSTEM = """\
{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or message.role == "assistant" %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""Qwen2.5."""

LAST_QUERY = """\
{%- set ns = namespace(searching=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string
           and not (message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- if ns.searching %}{{- raise_exception('No user query found in messages.') }}{%- endif %}
{%- for message in messages %}
    {%- if message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set reasoning = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last %}
            {%- set content = '<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') %}
        {%- endif %}
        {{- '<|im_start|>assistant\\n' + content + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{{- '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
"""
"""Qwen3 and Qwen3.5."""

HEADERS = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if strftime_now is defined %}{{- "Today: " + strftime_now("%d %b %Y") + "\\n\\n" }}{%- endif %}
{{- system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
"""
"""Llama 3."""

NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{{ '<start_of_turn>model\n' }}"
)
"""Gemma 2."""

IGNORED_SYSTEM = (
    "{% for message in messages %}{% if message.role != 'system' %}<|im_start|>{{ message.role }}\n"
    "{{ message.content }}<|im_end|>\n{% endif %}{% endfor %}<|im_start|>assistant\n"
)

TEXT_OR_PARTS = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- if messages[0]['content'] is string -%}"
    "{%- set prefix = messages[0]['content'] + '\n\n' -%}{%- else -%}"
    "{%- set prefix = messages[0]['content'][0]['text'] + '\n\n' -%}{%- endif -%}{%- set turns = messages[1:] -%}"
    "{%- else -%}{%- set prefix = '' -%}{%- set turns = messages -%}{%- endif -%}{%- for message in turns -%}"
    "{{ '<start_of_turn>' + message['role'] + '\n' + (prefix if loop.first else '') }}"
    "{%- if message['content'] is string -%}{{ message['content'] | trim }}{%- else -%}"
    "{%- for item in message['content'] -%}{{ item['text'] | trim }}{%- endfor -%}{%- endif -%}"
    "{{ '<end_of_turn>\n' }}{%- endfor -%}{{ '<start_of_turn>model\n' }}"
)
"""Gemma 3."""

SYSTEM_BEFORE_LAST_QUESTION = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}"
    "{%- set turns = messages[1:] %}{%- else %}{%- set turns = messages %}{%- endif %}{{- bos_token }}"
    "{%- for message in turns %}{%- if message['role'] == 'user' %}{%- if loop.last and system is defined %}"
    "{{- '[INST]' + system + '\n\n' + message['content'] + '[/INST]' }}{%- else %}"
    "{{- '[INST]' + message['content'] + '[/INST]' }}{%- endif %}{%- elif message['role'] == 'assistant' %}"
    "{{- message['content'] | trim + eos_token }}{%- else %}{{- raise_exception('Only user and assistant roles') }}"
    "{%- endif %}{%- endfor %}"
)
"""Mistral."""

SEPARATOR = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + "
    "'<|im_end|>' }}{% endfor %}{{ '<|im_start|>assistant<|im_sep|>' }}"
)
"""Phi-4."""

ROLE_MARKS = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{{ '<|assistant|>\n' }}"
)
"""Phi-3."""

DROPPED_REASONING = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}"
    "{% elif message['role'] == 'user' %}{{ '<｜User｜>' + message['content'] }}{% else %}"
    "{% set content = message['content'] %}{% if '</think>' in content %}"
    "{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
    "{{ '<｜Assistant｜><think>\n' }}"
)
"""DeepSeek-R1."""

CHANNELS = """\
{{- "<|start|>system<|message|>Current date: " + strftime_now("%Y-%m-%d") + "<|end|>" }}
{%- if messages[0].role == "system" %}
    {{- "<|start|>developer<|message|># Instructions\\n\\n" + messages[0].content + "<|end|>" }}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {%- set content = message.content %}
        {%- if "<|channel|>analysis<|message|>" in content or "<|channel|>final<|message|>" in content %}
            {{- raise_exception("You have passed a message containing <|channel|> tags.") }}
        {%- endif %}
        {{- "<|start|>assistant<|channel|>final<|message|>" + message.content + "<|end|>" }}
    {%- else %}
        {{- "<|start|>" + message.role + "<|message|>" + message.content + "<|end|>" }}
    {%- endif %}
{%- endfor %}
{{- "<|start|>assistant" }}
"""
"""gpt-oss."""

GENERATION_BLOCK = """\
{%- set system = messages[0].content if messages[0].role == "system" else "" %}
{%- set mode = "/no_think" if "/no_think" in system else "/think" %}
{%- set system = system.replace("/no_think", "").replace("/think", "").rstrip() %}
{{- "<|im_start|>system\\nReasoning Mode: " + mode + "\\n\\n" + system + "<|im_end|>\\n" }}
{%- for message in messages %}
    {%- if message.role == "user" %}
        {{- "<|im_start|>user\\n" + message.content + "<|im_end|>\\n" }}
    {%- elif message.role == "assistant" %}
        {%- generation %}
        {{- "<|im_start|>assistant\\n" + message.content.lstrip("\\n") + "<|im_end|>\\n" }}
        {%- endgeneration %}
    {%- endif %}
{%- endfor %}
{{- "<|im_start|>assistant\\n" }}
"""
"""SmolLM3."""

REMOVED_SWITCH = (
    "{% for message in messages %}{% set text = message.content.replace('</think>', '<_end>').replace('/think', '')"
    ".replace('/no_think', '').replace('<_end>', '</think>').strip() %}"
    "{{ '<SPECIAL_11>' + message.role + '\n' + text + '\n' }}{% endfor %}<SPECIAL_11>assistant\n"
)
"""Nemotron Nano 2."""

ROLE_TOKENS = (
    "{%- for message in messages %}{{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + "
    "message['content'] + '<|end_of_text|>\n' }}{%- endfor %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}"
)
"""Granite 4."""

TURN_TOKENS = (
    "{{ bos_token }}{% for message in messages %}{% set name = {'system': 'SYSTEM', 'user': 'USER'}"
    ".get(message.role, 'CHATBOT') %}{{ '<|START_OF_TURN_TOKEN|><|' + name + '_TOKEN|>' }}"
    "{% if message.role == 'assistant' %}<|START_RESPONSE|>{% endif %}{{ message.content }}"
    "{% if message.role == 'assistant' %}<|END_RESPONSE|>{% endif %}<|END_OF_TURN_TOKEN|>{% endfor %}"
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
)
"""Command A."""

QUEUE = """\
{%- set queue = namespace(ids=[]) %}
{%- for message in messages %}
    {%- if message.role == 'assistant' and message.get('tool_calls') %}
        {%- for call in message.tool_calls %}
            {%- set _ = queue.ids.append('functions.' + call.function.name) %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_start|>' + (message.get('name') or message.role) + '\\n' }}
    {%- if message.role == 'tool' %}{{- '## Return of ' + queue.ids.pop(0) + '\\n' }}{%- endif %}
    {{- message.content + '<|im_end|>' }}
{%- endfor %}
{{- '<|im_start|>assistant\\n' }}
"""
"""Kimi K2."""

PARTS_ONLY = (
    "{% for message in messages %}{{ message['role'].capitalize() }}: {% for line in message['content'] %}"
    "{% if line['type'] == 'text' %}{{ line['text'] }}{% elif line['type'] == 'image' %}<image>{% endif %}"
    "{% endfor %}<end_of_utterance>\n{% endfor %}Assistant:"
)
"""Idefics 3."""

PARTS_BUT_SYSTEM = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ '[SYS]' + message.content + '[/SYS]' }}"
    "{% else %}[INST]{{ message.content | selectattr('type', 'equalto', 'text') | map(attribute='text') | join }}"
    "[/INST]{% endif %}{% endfor %}"
)

PARTS_WITHOUT_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + PARTS_ONLY

JSON = "{{ '<|im_start|>' }}{{ messages | tojson }}{{ '<|im_end|>' }}"
ASCII_JSON = "{% for m in messages %}<|im_start|>{{ m.content | tojson(ensure_ascii=true) }}<|im_end|>{% endfor %}"
REPEATED = (
    "{% for m in messages %}<|im_start|>{{ m.content }}{{ m.content }}{{ m.content | trim }}<|im_end|>{% endfor %}"
)
MEASURED = "{% for m in messages %}<|im_start|>{{ m.content | length }} {{ m.content[:3] ~ m.content[3:] }}{% endfor %}"
JOINED = "{% for m in messages %}{{ m.content }}{% endfor %}<|im_start|>"

TEMPLATES = {name.lower(): value for name, value in globals().items() if name.isupper() and isinstance(value, str)}

MARKS = (
    "<|im_end|>", "<|im_start|>", "<think>", "</think>", "<tool_response>", "</tool_response>", "<|im_sep|>",
    "<s>", "</s>", "[INST]", "[/INST]", "<start_of_turn>", "<end_of_turn>", "<|begin_of_text|>", "<|eot_id|>",
    "<|start_header_id|>", "<|end_header_id|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<｜User｜>",
    "<｜Assistant｜>", "<｜end▁of▁sentence｜>", "<|channel|>", "<|message|>", "<|start|>", "<|return|>", "<|call|>",
    "<SPECIAL_11>", "<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "<|START_OF_TURN_TOKEN|>",
    "<|END_OF_TURN_TOKEN|>", "<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>", "<|SYSTEM_TOKEN|>", "<end_of_utterance>",
)  # fmt: skip
"""The special tokens of these templates, for a vocabulary that has them all."""
