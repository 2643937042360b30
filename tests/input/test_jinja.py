"""Templates as people bring them: rendered by Jinja2 itself and by us, the text is the same, or the template is refused.

Jinja2 gets the plain values, we get them as cells of a frame: so what is compared is all that stands between a template
and its text, the values, the printing and the limits included.
"""

import datetime as dt
import re
from decimal import Decimal

import jinja2
import polars as pl
import pytest

from batchgen.errors import UsageError
from batchgen.input.prompt_template import PromptError, Template

CELLS = {
    "name": "Trail stove", "german": "Größe: 42 €", "html": "<b>\"Tom\" & 'Jerry'</b>", "long": "The quick brown fox jumps over the lazy dog. " * 4,
    "lines": "one\ntwo\n\nthree\n", "blank": "  padded\t", "digits": "42", "padded_digits": "007", "fraction": "19.90", "words": "one two two three",
    "count": 3, "zero": 0, "negative": -7, "big": 2**53 + 1, "price": 19.99, "whole": 20.0, "small": 0.000001234, "huge": 1.5e22,
    "yes": True, "no": False, "tags": ["new", "sale", "new"], "numbers": [3, 1, 2], "prices": [1.5, 20.0, 0.1], "empty": [],
    "flags": [True, False], "nested": [[1, 2], [3]],
    "box": {"size": 3, "colour": "red", "parts": ["a", "b"], "inner": {"deep": "x"}},
    "people": [{"name": "Ann", "age": 31, "city": "Bern"}, {"name": "Bob", "age": 25, "city": "Wien"}, {"name": "Cy", "age": 31, "city": "Bern"}],
    "day": dt.date(2024, 2, 29), "moment": dt.datetime(2024, 2, 29, 13, 5, 7), "clock": dt.time(8, 30), "cost": Decimal("12.50"),  # noqa: DTZ001  without a zone
}  # fmt: skip

PRINTED = [f"{{{{ {name} }}}}" for name, value in CELLS.items() if not isinstance(value, Decimal)] + [
    "{{ cost }}", "{{ name }}{{ count }}", "{{name}}", "{{  name  }}", "{{- name -}}", " {{- name }} ", "a {{ name }}\n", "a {{ name }}\n\n", "a\n  {{ name }}",
    "{{ 'text' }}", '{{ "text" }}', "{{ 'it''s' }}", "{{ 'a\\nb' }}", "{{ '\\u00e9' }}", "{{ 1 }}{{ 1.0 }}{{ 1.50 }}{{ 1e3 }}{{ 1e100 }}{{ 1_000 }}", "{{ 0x1f }}{{ 0o17 }}{{ 0b11 }}",
    "{{ true }}{{ True }}{{ false }}", "{{ [] }}{{ {} }}{{ () }}", "{{ [1, 'a', 2.0, true] }}", "{{ (1, 2) }}{{ (1,) }}", "{{ {'b': 1, 'a': [2]} }}", "{{ [tags, count] }}",
    "{{ {'k': price} }}", "{{ [\"it's\", 'a\"b'] }}", "{{ box.size }}{{ box['colour'] }}{{ box.parts[1] }}{{ box.inner.deep }}", "{{ people[0].name }}{{ people[-1]['age'] }}",
    "{{ tags[0] }}{{ tags[-1] }}{{ name[0] }}{{ name[-1] }}", "{{ row['name'] if row is defined else name }}",
]  # fmt: skip
SLICES = [
    "{{ name[:5] }}", "{{ name[2:] }}", "{{ name[2:5] }}", "{{ name[-3:] }}", "{{ name[::-1] }}", "{{ name[::2] }}", "{{ name[:] }}", "{{ tags[:2] }}", "{{ tags[1:] | join(',') }}",
    "{{ tags[::-1] }}", "{{ long[:20] }}...", "{{ long[:20] | upper }}", "{{ long[:count] }}", "{{ people[1:][0].name }}", "{{ name[count:] }}", "{{ name[1:3] ~ name[:1] }}", "{{ (name ~ german)[:14] }}",
    "{% for tag in tags[1:] %}{{ tag }};{% endfor %}", "{% if long[:3] == 'The' %}y{% endif %}", "{{ lines.split('\\n')[:2] | join(' ') }}", "{{ box.parts[:1] }}",
]  # fmt: skip
OPERATORS = [
    "{{ count + 1 }}", "{{ count - 5 }}", "{{ count * 2 }}", "{{ count / 2 }}", "{{ count // 2 }}", "{{ count % 2 }}", "{{ count ** 2 }}", "{{ -count }}{{ +count }}", "{{ negative // 2 }}{{ negative % 3 }}",
    "{{ price * 2 }}", "{{ whole / 3 }}", "{{ price + count }}", "{{ 6 / 2 }}", "{{ 7 // 2.0 }}", "{{ 2 ** 0.5 }}", "{{ 0.1 + 0.2 }}", "{{ 10 * 1.1 }}", "{{ (count + 1) * 2 }}", "{{ count + count * 2 }}",
    "{{ 'a' + 'b' }}", "{{ name + '!' }}", "{{ 'ab' * 3 }}", "{{ '-' * count }}", "{{ tags + ['x'] }}", "{{ [0] * 3 }}", "{{ name ~ count ~ price ~ yes }}", "{{ tags ~ '' }}", "{{ 1 ~ 2 }}",
    "{{ '%s costs %s' % (name, count) }}", "{{ '%.2f' % price }}", "{{ '%d%%' % 5 }}", "{{ '%05d' % count }}", "{{ '%s' % name }}", "{{ '%(a)s' % {'a': 1} }}",
    "{{ count == 3 }}", "{{ count != 3 }}", "{{ count > 2 }}", "{{ count >= 3 }}", "{{ count < 2.5 }}", "{{ count <= 3 }}", "{{ 1 < count < 5 }}", "{{ 1 < count > 5 }}", "{{ price > 10 }}", "{{ count == 3.0 }}",
    "{{ name == 'Trail stove' }}", "{{ name < 'z' }}", "{{ 'stove' in name }}", "{{ 'x' not in name }}", "{{ 'sale' in tags }}", "{{ 3 in numbers }}", "{{ 9 not in numbers }}", "{{ 'size' in box }}", "{{ tags == ['new'] }}",
    "{{ yes and no }}", "{{ yes or no }}", "{{ not yes }}", "{{ name and count }}", "{{ zero or 'none' }}", "{{ empty or 'nothing' }}", "{{ yes == true }}", "{{ yes == 1 }}", "{{ not (count > 5 or no) }}",
    "{{ 'a' if yes else 'b' }}", "{{ 'a' if no else 'b' }}", "x{{ 'a' if no }}", "x{{ name if count > 5 }}y", "{{ 'a' if no else 'b' if no else 'c' }}", "{{ (name if yes) ~ '!' }}",
    "{{ day.year }}{{ day.month }}", "{{ moment.hour }}", "{{ day.strftime('%d.%m.%Y') }}", "{{ moment.isoformat() }}", "{{ day < moment.date() }}", "{{ day == day }}", "{{ cost + 1 }}", "{{ cost > 10 }}", "{{ cost * 2 }}", "{{ cost < 100 }}",
]  # fmt: skip
FILTERS = [
    "{{ negative | abs }}", "{{ price | abs }}", "{{ box | attr('nothing') is defined }}", "{{ numbers | batch(2) | list }}", "{{ numbers | batch(2, 0) | list }}", "{% for r in numbers | batch(2) %}{{ r }};{% endfor %}",
    "{{ german | capitalize }}", "{{ name | center(20) }}|", "{{ name | center }}|", "{{ name | center(width=15) }}|", "{{ name | default('x') }}", "{{ name | d('x') }}", "{{ '' | default('x') }}", "{{ '' | default('x', true) }}",
    '{{ "" | default("x", boolean=true) }}', "{{ zero | default(1, true) }}", "{{ empty | default(['a'], boolean=True) }}", "{{ box | dictsort }}", "{{ {'b': 1, 'a': 2} | dictsort }}", "{{ {'b': 1, 'a': 2} | dictsort(by='value') }}",
    "{{ {'b': 1, 'a': 2} | dictsort(reverse=true) }}", "{{ {'B': 1, 'a': 2} | dictsort(true) }}", "{{ html | e }}", "{{ html | escape }}", "{{ html | forceescape }}", "{{ big | filesizeformat }}", "{{ 1500 | filesizeformat(true) }}",
    "{{ tags | first }}", "{{ name | first }}", "{{ digits | float }}", "{{ 'x' | float }}", "{{ 'x' | float(1.5) }}", "{{ count | float }}", "{{ '%s-%s' | format(1, 'a') }}", "{{ '%.1f' | format(price) }}", "{{ '%s' | format(name) }}",
    "{{ '%(a)s' | format(a=3) }}", "{{ people | groupby('city') | list | length }}", "{% for city, some in people | groupby('city') %}{{ city }}:{{ some | length }};{% endfor %}", "{% for g in people | groupby('age') %}{{ g.grouper }}={{ g.list | map(attribute='name') | join('+') }};{% endfor %}",
    "{{ lines | indent }}", "{{ lines | indent(2) }}", "{{ lines | indent(2, true) }}", "{{ lines | indent(width=3, first=true, blank=true) }}", "{{ lines | indent('> ') }}", "{{ digits | int }}", "{{ fraction | int }}", "{{ padded_digits | int }}",
    "{{ 'abc' | int }}", "{{ 'abc' | int(5) }}", "{{ 'abc' | int(default=7) }}", "{{ '0x1A' | int(0, 16) }}", "{{ 'ff' | int(base=16) }}", "{{ price | int }}", "{{ yes | int }}", "{% for k, v in box | items %}{{ k }}={{ v }};{% endfor %}",
    "{{ tags | join }}", "{{ tags | join(', ') }}", "{{ numbers | join('-') }}", "{{ prices | join(' ') }}", "{{ people | join(', ', attribute='name') }}", "{{ people | join('/', 'age') }}", "{{ name | join('.') }}", "{{ flags | join(',') }}", "{{ nested | join(';') }}",
    "{{ tags | last }}", "{{ numbers | last }}", "{{ name | length }}", "{{ tags | count }}", "{{ box | length }}", "{{ german | length }}", "{{ name | list }}", "{{ box | list }}", "{{ german | lower }}", "{{ tags | map('upper') | list }}", "{{ tags | map('upper') | join(',') }}",
    "{{ people | map(attribute='name') | join(', ') }}", "{{ tags | map('replace', 'n', 'm') | join }}", "{{ numbers | map('string') | list }}", "{{ numbers | max }}", "{{ numbers | min }}", "{{ tags | max }}", "{{ people | max(attribute='age') }}",
    "{{ prices | sum }}", "{{ numbers | sum }}", "{{ people | sum(attribute='age') }}", "{{ numbers | sum(start=10) }}", "{{ numbers | pprint }}", "{{ box | pprint }}", "{{ people | rejectattr('age', 'gt', 30) | map(attribute='name') | join }}", "{{ numbers | reject('odd') | list }}", "{{ numbers | select('odd') | list }}",
    "{{ numbers | select('gt', 1) | list }}", "{{ numbers | select('>', 1) | list }}", "{{ numbers | select('divisibleby', 3) | list }}", "{{ people | selectattr('city', 'equalto', 'Bern') | map(attribute='name') | list }}", "{{ people | selectattr('city', '==', 'Wien') | list | length }}", "{{ people | selectattr('name') | list | length }}",
    "{{ people | selectattr('age', 'in', [25]) | map(attribute='name') | first }}", "{{ tags | select('in', ['sale']) | list }}", "{{ tags | select | list }}", "{{ name | replace('stove', 'oven') }}", "{{ 'aaa' | replace('a', 'b', 2) }}", "{{ name | reverse }}", "{{ numbers | reverse | list }}", "{{ price | round }}", "{{ price | round(1) }}",
    "{{ price | round(1, 'floor') }}", "{{ price | round(method='ceil') }}", "{{ 2.5 | round }}", "{{ count | round }}", "{{ 1234 | round(-2) }}", "{{ price | round | int }}", "{{ html | safe }}", "{{ numbers | slice(2) | list }}", "{{ numbers | slice(2, 0) | list }}", "{{ numbers | sort }}", "{{ numbers | sort(reverse=true) }}",
    "{{ tags | sort }}", "{{ people | sort(attribute='age,name') | map(attribute='name') | join }}", "{{ ['b', 'A'] | sort }}{{ ['b', 'A'] | sort(case_sensitive=true) }}", "{{ count | string }}", "{{ price | string | length }}", "{{ html | striptags }}", "{{ german | title }}", "{{ \"it's o'clock-time\" | title }}", "{{ tags | tojson }}",
    "{{ {'a': 1} | tojson }}", "{{ html | tojson }}", "{{ prices | tojson }}", "{{ yes | tojson }}", "{{ name | tojson }}", "{{ numbers | tojson(indent=2) }}", "{{ [[], {}] | tojson(2) }}", "{{ blank | trim }}|", "{{ 'xxaxx' | trim('x') }}", "{{ long | truncate(20) }}", "{{ long | truncate(20, true) }}", "{{ long | truncate(20, false, '!') }}",
    "{{ long | truncate }}", "{{ long | truncate(20, true, '', 0) }}", "{{ long | truncate(length=30, killwords=True, end='…') }}", "{{ name | truncate(9) }}", "{{ name | truncate(9, leeway=0) }}", "{{ tags | unique | list }}", "{{ tags | unique | join }}", "{{ people | unique(attribute='city') | map(attribute='name') | list }}", "{{ german | upper }}",
    "{{ german | urlencode }}", "{{ {'a': 1, 'b c': 'ä'} | urlencode }}", "{{ 'see http://example.org ok' | urlize }}", "{{ long | wordcount }}", "{{ words | wordcount }}", "{{ long | wordwrap(30) }}", "{{ long | wordwrap(30, false) }}", "{{ long | wordwrap(width=20, break_long_words=true, wrapstring=' / ') }}", "{{ {'class': 'a', 'id': count} | xmlattr }}",
    "{{ name | upper | lower | title | trim }}", "{{ name | replace(' ', '_') | lower }}", "{{ (name | upper)[:3] }}", "{{ tags | map('length') | sum }}", "{{ -3 | abs }}", "{{ 'a' ~ 'b' | upper }}", "{% filter upper %}{{ name }} x{% endfilter %}", "{% filter replace('o', '0') | upper %}{{ name }}{% endfilter %}", "{% filter truncate(count + 5) %}{{ name }}{% endfilter %}",
]  # fmt: skip
TESTS = [
    f"{{{{ {value} is {test} }}}}"
    for value in ("name", "count", "price", "yes", "tags", "box", "zero", "'ABC'")
    for test in ("boolean", "callable", "defined", "undefined", "false", "true", "float", "integer", "iterable", "mapping", "none", "not none", "number", "sequence", "string")
] + [
    "{{ count is odd }}{{ count is even }}", "{{ count is divisibleby 3 }}", "{{ count is divisibleby(2) }}", "{{ 'abc' is lower }}{{ 'ABC' is upper }}", "{{ count is eq 3 }}{{ count is equalto(4) }}", "{{ count is gt 2 }}{{ count is lt(2) }}", "{{ count is ge 3 }}{{ count is le 2 }}{{ count is ne 1 }}",
    "{{ name is eq 'x' }}", "{{ 'a' is in 'abc' }}", "{{ 2 is in numbers }}", "{{ name is sameas name }}", "{{ true is sameas yes }}", "{{ 'upper' is filter }}", "{{ 'odd' is test }}", "{{ name is escaped }}", "{{ count is not odd and name is string }}", "{{ box.nothing is defined }}" if False else "{{ box.size is defined }}",
]  # fmt: skip
STATEMENTS = [
    "{% if count > 2 %}a{% elif count > 1 %}b{% else %}c{% endif %}", "{% if no %}a{% elif yes %}b{% else %}c{% endif %}", "{% if no %}a{% elif no %}b{% else %}c{% endif %}", "{% if not tags %}a{% endif %}x", "{% if empty %}a{% else %}b{% endif %}", "{% if yes -%}  a  {%- endif %}x",
    "{% for tag in tags %}{{ tag }}{% endfor %}", "{% for tag in tags %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}", "{% for tag in tags %}{{ tag }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for x in empty %}{{ x }}{% else %}none{% endfor %}", "{% for k, v in box.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in box %}{{ k }}{% endfor %}", "{% for k in box.keys() %}{{ k }},{% endfor %}", "{% for v in box.values() %}{{ v }},{% endfor %}", "{% for c in name %}{{ c }}.{% endfor %}",
    "{% for p in people if p.age > 30 %}{{ p.name }};{% endfor %}", "{% for p in people %}{{ loop.cycle('odd', 'even') }}{{ p.name }}{% endfor %}", "{% for p in people %}{{ loop.previtem.name if loop.previtem }}>{{ loop.nextitem.name if loop.nextitem }};{% endfor %}", "{% for p in people %}{{ loop.changed(p.city) }}{% endfor %}",
    "{% for i in range(3) %}{{ i }}{% endfor %}", "{% for i in range(1, 10, 3) %}{{ i }}{% endfor %}", "{% for i in range(count) %}{{ i }}{% endfor %}", "{% for a in nested %}{% for b in a %}{{ loop.depth }}{{ b }}{% endfor %};{% endfor %}", "{% for a, b in [[1, 2], [3, 4]] %}{{ a + b }};{% endfor %}",
    "{% for tag in tags | sort | unique %}{{ tag }}{% endfor %}", "{% for x in nested recursive %}{% if x is iterable %}[{{ loop(x) }}]{% else %}{{ x }}{% endif %}{% endfor %}", "{% set x = 1 %}{{ x }}", "{% set x = name | upper %}{{ x }}", "{% set x, y = 1, 2 %}{{ x + y }}", "{% set x %}a {{ name }}{% endset %}{{ x | upper }}",
    "{% set x | upper %}{{ name }}{% endset %}{{ x }}", "{% set x = 1 %}{% for i in numbers %}{% set x = i %}{% endfor %}{{ x }}", "{% set ns = namespace(total=0) %}{% for i in numbers %}{% set ns.total = ns.total + i %}{% endfor %}{{ ns.total }}", "{% if yes %}{% set x = 'a' %}{% endif %}{{ x }}",
    '{% if name == "de" %}{% set form = "Sie" %}{% else %}{% set form = "du" %}{% endif %}{{ form }}', '{% if name == "de" %}{% set form = "Sie" %}{% elif yes %}{% set form = "Ihr" %}{% else %}{% set form = "du" %}{% endif %}{{ form }}', '{% set name = name or "everyone" %}{{ name }}', "{% set name = name | default('x') %}{{ name }}", "{% set name = name | upper %}{{ name }}",
    "{% with %}{% set y = 2 %}{{ y }}{% endwith %}", "{% with a = 1, b = name %}{{ a }}{{ b }}{% endwith %}", "{% with name = name ~ '!' %}{{ name }}{% endwith %}{{ name }}", "{% macro m(a, b='x') %}[{{ a }}{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(b=3, a=4) }}", "{% macro m() %}{{ name }}{% endmacro %}{{ m() }}{{ m() | upper }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}{{ name }}{% endcall %}", "{% macro m(xs) %}{% for x in xs %}{{ caller(x) }}{% endfor %}{% endmacro %}{% call(x) m(tags) %}({{ x }}){% endcall %}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{# a comment #}{{ name }}", "a {#- b -#} c", "{% raw %}{{ name }} {% if %}{% endraw %}", "{{ '{{' }} x {{ '}}' }}", "{%- if yes %} a {% endif -%} b", "{% if yes %}\na\n{% endif %}\nb", "{%+ if yes %}a{%+ endif %}", "{% block b %}{{ name }}{% endblock %}", "{% block b %}x{% endblock %}{{ self.b() }}", "{% autoescape true %}{{ html }}{% endautoescape %}{{ html }}",
    "{{ cycler('a', 'b').next() }}", "{% set c = cycler('a', 'b') %}{% for x in numbers %}{{ c.next() }}{% endfor %}", "{% set j = joiner(', ') %}{% for t in tags %}{{ j() }}{{ t }}{% endfor %}", "{{ dict(a=1, b=name) }}", "{{ dict(a=1).a }}", "{{ range(4) | list }}", "{{ range(5) | sum }}", "{{ namespace(a=1).a }}",
    "Hello {{ name }}!\r\nBye", "{{ name }} {# {{ zzz }} #}", "{% set text = 'x' %}{% for text in tags %}{{ text }}{% endfor %}{{ text }}", "{% for name in tags %}{{ name }}{% endfor %}{{ name }}", "{% set i = 5 %}{% if i > count %}{{ i }}{% endif %}",
]  # fmt: skip
METHODS = [
    "{{ name.upper() }}", "{{ name.lower() }}", "{{ name.title() }}", "{{ name.split() }}", "{{ name.split(' ', 1)[1] }}", "{{ words.split(' ') | unique | list }}", "{{ words.count('two') }}", "{{ name.replace('a', 'b') }}", "{{ name.replace('a', 'b', 1) }}", "{{ name.startswith('Tr') }}", "{{ name.endswith('x') }}",
    "{{ name.find('s') }}", "{{ blank.strip() }}|", "{{ blank.lstrip() }}|", "{{ 'xax'.strip('x') }}", "{{ ', '.join(tags) }}", "{{ '{} and {}'.format(name, count) }}", "{{ '{a:>5}|{b:.1f}'.format(a=count, b=price) }}", "{{ '{0}{0}'.format(name) }}", "{{ lines.splitlines() }}", "{{ digits.isdigit() }}", "{{ digits.zfill(5) }}", "{{ name.center(20, '*') }}",
    "{{ name.ljust(15) }}|", "{{ name.rjust(15) }}|", "{{ name.partition(' ') }}", "{{ german.encode('utf-8') | length }}", "{{ name.swapcase() }}", "{{ name.capitalize() }}", "{{ name.index('s') }}", "{{ 'a\tb'.expandtabs(4) }}", "{{ 'ab'.isalpha() }}", "{{ name.removeprefix('Trail ') }}", "{{ 'ß'.casefold() }}", "{{ box.get('size') }}{{ {'a': 1}.get('x', '-') }}",
    "{{ tags.index('sale') }}{{ tags.count('new') }}", "{{ price.is_integer() }}", "{{ count.bit_length() }}", "{{ day.isoformat() }}{{ day.weekday() }}", "{{ day.replace(day=1) }}", "{{ (moment - moment).seconds }}", "{{ 'a,b;c'.replace(';', ',').split(',') }}",
]  # fmt: skip
SAME = [*PRINTED, *SLICES, *OPERATORS, *FILTERS, *TESTS, *STATEMENTS, *METHODS]

REFUSED = [
    pytest.param("{{ none }}", id="none has no text"),
    pytest.param("{{ [none] }}", id="none in a list"),
    pytest.param("{{ box.get('x') }}", id="a method that gives none"),
    pytest.param("{{ digits > 4 }}", id="a text is greater than no number"),
    pytest.param("{{ digits == 42 }}", id="and equal to none"),
    pytest.param("{{ 42 in [digits] }}", id="and in no list of them"),
    pytest.param("{{ [digits] | select('eq', 42) | list }}", id="nor selected by one"),
    pytest.param("{{ count == '3' }}", id="a number is no text"),
    pytest.param("{{ yes == 'true' }}", id="a truth value is no text"),
    pytest.param("{{ day == '2024-02-29' }}", id="a date is no text"),
    pytest.param("{{ day == moment }}", id="a date is no date with time"),
    pytest.param("{{ fraction * 2 }}", id="twice a text of digits is not twice the number"),
    pytest.param("{{ digits + 1 }}", id="a text and a number"),
    pytest.param("{{ range }}", id="a function has no text"),
    pytest.param("{{ cycler }}", id="nor has a class"),
    pytest.param("{{ name.upper }}", id="nor has a method that is not called"),
    pytest.param("{% macro m() %}{% endmacro %}{{ m }}", id="nor has a macro"),
    pytest.param("{{ namespace(a=1) }}", id="nor has a namespace"),
    pytest.param("{% for x in tags %}{{ loop }}{% endfor %}", id="nor has a loop"),
    pytest.param("{{ name.encode() }}", id="nor have bytes"),
    pytest.param("{{ lipsum() }}", id="filler text"),
    pytest.param("{{ tags | random }}", id="another text each time"),
    pytest.param("{{ name | nosuch }}", id="a filter that there is not"),
    pytest.param("{{ name is nosuch }}", id="a test that there is not"),
    pytest.param("{{ box.nothing }}", id="a field that there is not"),
    pytest.param("{{ box.nothing or 'x' }}", id="and with something instead"),
    pytest.param("{{ box['sise'] is defined }}", id="and asked whether it is there"),
    pytest.param("{{ people[9] }}", id="an item that there is not"),
    pytest.param("{{ [] | first }}", id="the first of nothing"),
    pytest.param("{{ 1 // 0 }}", id="a division by zero"),
    pytest.param("{{ tags.append('x') }}", id="what changes a list has no text"),
    pytest.param("{{ people | map(attribute='zip', default='-') | join }}", id="a field that no struct has, and a default"),
    pytest.param("{{ box.get('x', '-') }}", id="asked for by a method"),
    pytest.param("{% for p in people %}{{ p.nmae or 'x' }}{% endfor %}", id="in a loop"),
    pytest.param("{% set b = box %}{{ b.sise or 'x' }}", id="under another name"),
    pytest.param("{{ row.box.sise or 'x' }}", id="by the row"),
    pytest.param("{{ row.get('nmae', 'x') }}", id="a column that the row does not have"),
    pytest.param("{% if tags.length %}y{% endif %}", id="an attribute that a list does not have"),
    pytest.param("{% for t in tags %}{% if loop.frist %}y{% endif %}{% endfor %}", id="or a loop"),
    pytest.param("{{ '%s' % none }}", id="none in a pattern"),
    pytest.param("{{ '%s' | format(none) }}", id="in one by a filter"),
    pytest.param("{{ '{}'.format(none) }}", id="in one by a method"),
    pytest.param("{{ none | upper }}", id="none by a filter"),
    pytest.param("{{ none | trim }}", id="by another"),
    pytest.param("{{ none | e }}", id="by one more"),
    pytest.param("{% autoescape true %}{{ 'a' ~ none }}{% endautoescape %}", id="none where markup is escaped"),
    pytest.param("{{ name.upper | trim }}", id="a method in a filter"),
    pytest.param("{{ '%s' % name.upper }}", id="a method in a pattern"),
    pytest.param("{{ '{0.upper}'.format(name) }}", id="a method in a method"),
    pytest.param("{{ range | upper }}", id="a function in a filter"),
    pytest.param("{{ {4: 'good'}.get(digits, 'unknown') }}", id="a text among a mapping's numbers"),
    pytest.param("{{ {4: 'good'}[digits] | default('unknown') }}", id="by brackets"),
    pytest.param("{{ {'4': 'good'}[count] or 'unknown' }}", id="a number among a mapping's texts"),
    pytest.param("{{ digits in {4: 1} }}", id="a text in a mapping of numbers"),
    pytest.param("{{ digits in range(5) }}", id="in a range"),
    pytest.param("{{ [digits] == [4] }}", id="in a list"),
    pytest.param("{{ {'a': digits} == {'a': 4} }}", id="in a mapping"),
    pytest.param("{{ tags.count(4) }}", id="counted"),
    pytest.param("{{ digits + fraction }}", id="two texts of digits are not added"),
    pytest.param("{{ '%.2f' % fraction }}", id="nor written like numbers"),
    pytest.param("{{ day.today() }}", id="another day each time"),
    pytest.param("{{ ('nan' | float) }}", id="what is no number"),
    pytest.param("{{ [name if no] }}", id="an if without else in a list"),
    pytest.param("{% include 'x' %}", id="another template"),
    pytest.param("{% import 'x' as x %}", id="its macros"),
    pytest.param("{% from 'x' import y %}", id="some of its macros"),
    pytest.param("{% extends 'x' %}", id="its child"),
    pytest.param("{% trans %}x{% endtrans %}", id="an extension's tag"),
]  # fmt: skip

OTHERWISE = [
    pytest.param("{{ box | tojson }}", '{"size": 3, "colour": "red", "parts": ["a", "b"], "inner": {"deep": "x"}}', id="keys in their order"),
    pytest.param("{{ german | tojson }}", '"Größe: 42 €"', id="letters as they are"),
    pytest.param("{{ day | tojson }} {{ cost | tojson }}", '"2024-02-29" 12.50', id="dates and decimals are JSON, too"),
    pytest.param("{{ tags | map('upper') }}", "['NEW', 'SALE', 'NEW']", id="a list, and no generator's address"),
    pytest.param("{% if tags | select('eq', 'x') %}y{% else %}n{% endif %}", "n", id="an empty one is false"),
    pytest.param("{{ [day, moment, cost, clock] }}", "[2024-02-29, 2024-02-29 13:05:07, 12.50, 08:30:00]", id="in a list as alone"),
    pytest.param("{{ moment - moment }}", "PT0S", id="a duration is ISO"),
    pytest.param("{{ cost * 1.19 }}", "14.8750", id="a decimal times a number with a fraction"),
    pytest.param("{{ 0.1 in [cost] }} {{ 12.5 in [cost] }} {{ [cost] == [12.5] }}", "False True True", id="also in lists"),
    pytest.param("{% set l = [] %}{% for t in tags %}{% do l.append(t | upper) %}{% endfor %}{{ l | join }}", "NEWSALENEW", id="a list of the template's own grows"),
    pytest.param("{{ 'x: %s %s' % (box, [day]) }} {{ '{}'.format([cost]) }}", "x: {'size': 3, 'colour': 'red', 'parts': ['a', 'b'], 'inner': {'deep': 'x'}} [2024-02-29] [12.50]", id="in patterns as elsewhere"),
    pytest.param("{{ [day] | upper }} {{ [cost] | trim }}", "[2024-02-29] [12.50]", id="in filters of texts, too"),
    pytest.param("{{ cost > 12.5 }}", "False", id="and compared with one"),
    pytest.param("{{ {'items': 1}.items }}", "1", id="a key comes before the method of its name"),
    pytest.param("{{ 'a,b' | split(',') }}{{ '1\n2' | lines }}{{ 1 | bool }}{{ 2 | pluralize }}", "['a', 'b']['1', '2']Trues", id="filters beyond Jinja's"),
    pytest.param("{{ [1] | zip([2]) | list }}{{ [1] | chain([2]) }}{{ 'ab' is startingwith('a') }}", "[(1, 2)][1, 2]True", id="and more of them"),
    pytest.param("{% for x in tags %}{% if x == 'sale' %}{% break %}{% endif %}{{ x }}{% endfor %}", "new", id="a loop can be left"),
]  # fmt: skip


def by_jinja(text: str) -> str:
    return jinja2.Environment().from_string(text).render(CELLS)


def by_us(text: str) -> str:
    frame = pl.DataFrame(
        {name: [cell] for name, cell in CELLS.items()},
        schema_overrides={"empty": pl.List(pl.String), "cost": pl.Decimal(10, 2)},
    )
    template = Template(text, dict(frame.schema))
    return template.render(template.cells(frame)[0])


@pytest.mark.parametrize("text", SAME)
def test_a_template_gives_what_jinja_gives(text: str):
    """A text of blanks alone is refused: there is nothing to answer."""
    wanted = by_jinja(text)
    assert (by_us(text + ".") == by_jinja(text + ".")) if not wanted.strip() else (by_us(text) == wanted)


@pytest.mark.parametrize("text", REFUSED)
def test_a_template_that_would_mislead_is_refused(text: str):
    with pytest.raises((UsageError, PromptError)) as told:
        by_us("x" + text)
    assert re.search(r"line 1\b", str(told.value)), "the line is named"


@pytest.mark.parametrize(("text", "shown"), OTHERWISE)
def test_where_jinja_gives_no_text_for_people_ours_is_another(text: str, shown: str):
    assert by_us(text) == shown
