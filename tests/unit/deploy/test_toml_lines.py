import tomllib

from hypothesis import given
from hypothesis import strategies as st

from callboard.deploy.toml_lines import key_lines

# Each value with the lines that it takes, and the keys inside it by the line they stand on, from its first.
VALUES = [
    ("1", {}),
    ("1979-05-27 07:32:00  # [not] = 'a table'", {}),
    ('"a # [b]\\n = \\" c"', {}),
    ("'C:\\new # \"'", {}),
    ('""', {}),
    ('""""two quotes""""', {}),
    ('"""\n[fake]\nkey = 1\n\\"""\\\n  ""\n"""', {}),
    ("'''\n[fake]\n# key = '1'\n''''", {}),
    ("[\n  1, # ] not yet\n  [2, '''\n]'''],\n  { inner = 3 },\n]", {}),
    ("{}", {}),
    (
        '{ input = 1, "out put" = { deep = [1, 2] }, a.b = "}" }',
        {("input",): 0, ("out put",): 0, ("out put", "deep"): 0, ("a", "b"): 0},
    ),
    ("{ note = '''\n}\n''', after = 2 }", {("note",): 0, ("after",): 2}),
]
NAMES = ["plain", "with-dash", "2", '"quoted.dot"', "'literal # x'", '"\\u00e9"', 'dotted . "x.y"', "a.b.c"]
FILLERS = ["", "# a comment = 1", "   ", "\t# [table]"]


def parts_of(name: str) -> tuple[str, ...]:
    value = tomllib.loads(f"{name} = 0")
    parts: list[str] = []
    while isinstance(value, dict):
        (part,) = value
        parts.append(part)
        value = value[part]
    return tuple(parts)


@st.composite
def documents(draw):
    """A valid TOML text and the line of every key and header in it."""
    text, lines = "", {}

    def filler():
        return "".join(f"{line}\n" for line in draw(st.lists(st.sampled_from(FILLERS), max_size=3)))

    def pairs(table):
        nonlocal text
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=5)):
            text += filler() + draw(st.sampled_from(["", "  "]))
            value, inner = draw(st.sampled_from(VALUES))
            start = text.count("\n") + 1
            path = table + parts_of(name)
            lines[path] = start
            lines.update({path + key: start + offset for key, offset in inner.items()})
            text += f"{name}{draw(st.sampled_from([' = ', '=']))}{value}{draw(st.sampled_from(['', '  # end']))}\n"

    pairs(())
    for number in range(draw(st.integers(0, 4))):
        name = draw(st.sampled_from(NAMES))
        text += filler()
        header = f"[t{number}.{name}]"
        lines[f"t{number}", *parts_of(name)] = text.count("\n") + 1
        text += header + "\n"
        pairs((f"t{number}", *parts_of(name)))
    return text, lines


@given(documents(), st.sampled_from(["\n", "\r\n"]))
def test_every_key_is_found_on_its_line(document, newline):
    """Comments, multi-line strings and arrays, quoted and dotted keys do not move any key from its line."""
    text, lines = document
    text = text.replace("\n", newline)
    tomllib.loads(text)
    assert lines.items() <= key_lines(text).items()


def test_a_header_of_its_own_wins_over_a_subtable_before_it():
    """A table stands at its own header, or where it is first implied."""
    text = "[a.b.c]\nx = 1\n\n[a.b]\ny = 2\n"
    assert key_lines(text) == {
        ("a",): 1,
        ("a", "b"): 4,
        ("a", "b", "c"): 1,
        ("a", "b", "c", "x"): 2,
        ("a", "b", "y"): 5,
    }


def test_arrays_of_tables_are_passed_over():
    """``[[x]]`` is found, and what follows it too."""
    assert key_lines("[[x]]\nk = 1\n[[ x ]]\n[y]\nz = 1") == {("x",): 3, ("x", "k"): 2, ("y",): 4, ("y", "z"): 5}


def test_an_empty_text_has_no_keys():
    """Nothing, or only comments, is a valid file."""
    assert key_lines("") == key_lines("\n# only this") == {}
