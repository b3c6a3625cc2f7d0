import re
import string
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from callboard.deploy import settings_cells, settings_values
from callboard.deploy.settings import (
    Archive,
    Backend,
    Check,
    Http,
    Nats,
    Placement,
    Ray,
    Router,
    Settings,
    Telemetry,
)
from callboard.deploy.settings_file import InvalidSettings, load, parse
from callboard.events.money import Price, Step
from callboard.events.scaling import Scaling

EXAMPLE = Path(__file__).parents[3] / "deploy" / "callboard.example.toml"
GOOD = 'provider = "openai"\nmodel = "m"\n'


def mistakes(text: str) -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        parse(text, "callboard.toml")
    return str(caught.value).splitlines()


def test_an_empty_file_means_the_defaults():
    """Nothing has to be set."""
    assert parse("", "callboard.toml") == Settings()
    assert Settings() == Settings(
        data=".callboard",
        nats=Nats(url="", fsync="always", max_bytes=10 * 10**9, port=0),
        router=Router(
            policy="adaptive",
            max_attempts=5,
            latency_price_micros_per_s=500,
            quality_price_micros_per_percent=50,
            pace_micros_per_task=0,
        ),
        telemetry=Telemetry(traces="file", log_level="info"),
        backends={},
    )


def test_the_example_names_every_key_and_shows_the_defaults():
    """The example is valid, complete, and what it shows outside the backends is the default."""
    text = EXAMPLE.read_text()
    settings = load(EXAMPLE)
    assert msgspec.structs.replace(settings, backends={}, checks={}) == Settings()
    assert settings.checks == {"judge": Check(), "numbers_add_up": Check(function="my_models:numbers_add_up")}
    commented = "backend|folder|master_key_file|target_first_token|tokens|cert|key|address|agents|secrets|replicas"
    document = tomllib.loads(
        re.sub(f"# ({commented}|shards|url|data|credentials|ca) = ", r"\1 = ", text.replace("# [[", "[["))
    )
    assert {key for cell in document["cells"] for key in cell} == settings_cells.CELL.keys()
    assert document["archive"].keys() == settings_values.ARCHIVE.keys()
    assert document["router"]["cascade"].keys() == settings_values.CASCADE.keys()
    assert document["router"]["agent"].keys() == settings_values.AGENT.keys()
    assert document["checks"]["judge"].keys() == settings_values.JUDGE.keys()
    assert document["checks"]["numbers_add_up"].keys() == settings_values.CHECK.keys()
    assert document.keys() == settings_values.SETTINGS.keys()
    assert document["nats"].keys() == settings_values.NATS.keys()
    assert document["privacy"].keys() == settings_values.PRIVACY.keys()
    assert document["ray"].keys() == settings_values.RAY.keys()
    assert document["backends"]["deepseek"]["ray"].keys() == settings_values.PLACEMENT.keys()
    assert document["router"].keys() == settings_values.ROUTER.keys()
    assert document["http"].keys() == settings_values.HTTP.keys()
    assert document["telemetry"].keys() == settings_values.TELEMETRY.keys()
    assert {key for backend in document["backends"].values() for key in backend} == settings_values.BACKEND.keys()
    assert document["backends"]["deepseek"]["price"].keys() == settings_values.PRICE.keys()
    assert document["backends"]["deepseek"]["scaling"].keys() == settings_values.SCALING.keys()
    assert settings.backends["deepseek"] == Backend(
        provider="openai",
        model="deepseek-chat",
        url="https://api.deepseek.com",
        api_key_env="DEEPSEEK_API_KEY",
        capabilities=("chat", "tools"),
        context=64_000,
        data_policy=("region:cn",),
        price=Price(280_000, 420_000, 28_000, (Step(560_000, 840_000, over=32_000),)),
        rpm=500,
        tpm=1_000_000,
        scaling=Scaling(),
    )


@pytest.mark.parametrize(
    ("readers", "struct"),
    [
        (settings_values.SETTINGS, Settings),
        (settings_values.NATS, Nats),
        (settings_values.ROUTER, Router),
        (settings_values.TELEMETRY, Telemetry),
        (settings_values.ARCHIVE, Archive),
        (settings_values.HTTP, Http),
        (settings_values.RAY, Ray),
        (settings_values.PLACEMENT, Placement),
        (settings_values.BACKEND, Backend),
        (settings_values.PRICE, Price),
        (settings_values.SCALING, Scaling),
    ],
)
def test_every_field_can_be_set(readers, struct):
    """The keys of a table and the fields of its struct are the same."""
    attributes = {settings_values.ATTRIBUTES.get(key, key) for key in readers}
    assert attributes == {field.name for field in msgspec.structs.fields(struct)}


def test_values_become_whole_units():
    """Durations become nanoseconds, sizes bytes, and money micro-dollars without a float's error."""
    settings = parse(
        """
        nats = { max_bytes = "512MiB", fsync = "100ms" }
        router.latency_price_usd_per_s = 0.000003
        router.quality_price_usd_per_percent = 0.000_07
        router.pace_usd_per_task = 0.0021
        [backends.a]
        provider = "openai"
        model = "m"
        url = "http://127.0.0.1:8080/v1/"
        first_token_timeout = "250ms"
        timeout = "2h"
        price = { input = 0.1, output = 2 }
        """,
        "callboard.toml",
    )
    assert settings.nats == Nats(max_bytes=512 * 2**20, fsync="100ms")
    assert settings.router == Router(
        latency_price_micros_per_s=3, quality_price_micros_per_percent=70, pace_micros_per_task=2100
    )
    backend = settings.backends["a"]
    assert backend.url == "http://127.0.0.1:8080/v1"
    assert (backend.first_token_timeout_ns, backend.timeout_ns) == (250_000_000, 7_200 * 10**9)
    assert backend.price == Price(input=100_000, output=2_000_000, cached=None)


def test_prices_may_rise_with_the_prompt():
    """Steps are read as they stand, and whatever is wrong with one is told with its number."""

    def read(steps: str) -> Settings:
        return parse(f'[backends.a]\nprovider = "openai"\nmodel = "m"\n[backends.a.price]\n{steps}', "callboard.toml")

    start = "input = 3\noutput = 15\nsteps = "
    settings = read(start + "[{ over = 200_000, input = 6, output = 22.5, cached = 0.6 }]")
    assert settings.backends["a"].price == Price(
        3_000_000, 15_000_000, steps=(Step(6_000_000, 22_500_000, 600_000, over=200_000),)
    )
    for steps, wrong in (
        ("3", r"price.steps must be a list such as \[\{ over = 200_000, .*got 3"),
        ("[{ over = 1, input = 1 }]", "number 1 has other keys"),
        ("[{ over = 0, input = 1, output = 1 }]", "steps, number 1: over must be a whole number >= 1, got 0"),
        (
            "[{ over = 9, input = 1, output = 1 }, { over = 9, input = 1, output = 1 }]",
            "must rise: number 2 begins at 9",
        ),
    ):
        with pytest.raises(InvalidSettings, match=wrong):
            read(start + steps)


WRONG_FILES = [
    tuple(case.removesuffix("\n").rsplit("\n> ", 1))
    for case in (Path(__file__).parent / "wrong_settings.txt").read_text().split("----\n")[1:]
]


@pytest.mark.parametrize(("text", "said"), WRONG_FILES, ids=[said for _, said in WRONG_FILES])
def test_a_mistake_is_told_in_one_line_with_its_place(text, said):
    """One line says where the mistake is, what it is and how to mend it, and nothing else is complained about."""
    assert mistakes(text) == [f"callboard.toml:{said}"]


def test_all_mistakes_are_told_at_once():
    """Several mistakes give several lines, in the order of the file."""
    text = f"[backends.b]\n{GOOD}rpm = 0\ntpm = 'many'\n\n[nats]\nport = 'x'\n[backends.c]\nmodel = 'm'\n"
    assert mistakes(text) == [
        "callboard.toml:4: backends.b.rpm must be a whole number >= 1, got 0",
        'callboard.toml:5: backends.b.tpm must be a whole number >= 1, got "many"',
        'callboard.toml:8: nats.port must be a whole number >= 0, got "x"',
        "callboard.toml:9: [backends.c] missing key 'provider', as in provider = \"openai\"",
    ]


@pytest.mark.parametrize(
    "line",
    ['api_key = "{}"', 'token = "{}"', 'api_key_env = "{}"', 'url = "https://{}@h"', 'price = [{{ api_key = "{}" }}]'],
)
def test_a_key_in_the_file_is_never_repeated(line):
    """A secret that stands where it must not doesn't get into a log by way of the error message."""
    secret = "sk-verysecret"
    assert secret not in "\n".join(mistakes(f"[backends.a]\n{GOOD}" + line.format(secret)))


@pytest.mark.parametrize("number", ["9" * 5000, "1e99999999999999999999"])
def test_a_number_beyond_all_bounds_is_a_mistake(number):
    """Even a number that Python refuses to read is told as the file's fault."""
    assert mistakes(f"data = {number}") == ["callboard.toml: not valid TOML: a number in it is too long"]


TABLES = {
    "nats": settings_values.NATS,
    "router": settings_values.ROUTER,
    "telemetry": settings_values.TELEMETRY,
    "backends.a": settings_values.BACKEND,
}
KEYS = [(table, key) for table, keys in TABLES.items() for key in keys if len(key) >= 4]
LETTERS = string.ascii_lowercase + "_"


@st.composite
def misspellings(draw):
    """A table, a key of it of four letters or more, and that key with one letter wrong, lost, added or moved."""
    table, key = draw(st.sampled_from(KEYS))
    at = draw(st.integers(0, len(key) - 1))
    letter = draw(st.sampled_from(LETTERS))
    wrong = draw(
        st.sampled_from(
            [
                key[:at] + key[at + 1 :],
                key[:at] + letter + key[at:],
                key[:at] + letter + key[at + 1 :],
                key[:at] + key[at : at + 2][::-1] + key[at + 2 :],
            ]
        )
    )
    assume(wrong not in TABLES[table])
    return table, key, wrong


@given(misspellings())
def test_a_misspelt_key_gets_the_right_suggestion(misspelling):
    """One slip in a key's name is answered with that key."""
    table, key, wrong = misspelling
    said = mistakes(f"[{table}]\n{wrong} = 1\n{GOOD if table == 'backends.a' and key not in GOOD else ''}")
    assert f"callboard.toml:2: [{table}] unknown key '{wrong}'; did you mean '{key}'?" in said


BLOCKS = [
    "# [backends.x]\n",
    "\n",
    '[backends.{}]\nprovider = "openai"\nmodel = """\\\n  [fake]\n  rpm = 0\\\n  """\n',
    '[backends.{}]\ncapabilities = [ # ]\n  "chat",\n\n  "tools",\n]\nprovider = "anthropic"\nmodel = "m"\n',
    '[backends.{}.price]\ninput = 1\noutput = 2\n[backends.{}]\nprovider = "openai"\nmodel = "m"\n',
    'backends.{} = {{ provider = "callable", function = "m:f" }}\n',
]


@given(
    st.lists(st.sampled_from(BLOCKS[:2] + BLOCKS[5:]), max_size=4),
    st.lists(st.sampled_from(BLOCKS[:5]), max_size=6),
    st.data(),
)
def test_a_mistake_in_a_long_file_keeps_its_line(dotted, tables, data):
    """A wrong key at any end of any block is told on the line where it stands."""
    blocks = [block.replace("{}", f"b{n}") for n, block in enumerate(dotted + tables)]
    blocks = [block.replace("{{", "{").replace("}}", "}") for block in blocks]
    parse("".join(blocks), "callboard.toml")
    after = data.draw(st.integers(0, len(blocks)))
    before = "".join(blocks[:after])
    wrong = f"{before}[telemetry]\ntracs = 1\n" + "".join(
        block for block in blocks[after:] if not block.startswith("backends")
    )
    assert mistakes(wrong) == [
        f"callboard.toml:{before.count(chr(10)) + 2}: [telemetry] unknown key 'tracs'; did you mean 'traces'?"
    ]


def test_without_a_file_the_defaults_hold(tmp_path, monkeypatch):
    """No path and no ./callboard.toml means the defaults; with one there, it is read."""
    monkeypatch.chdir(tmp_path)
    assert load(None) == Settings()
    Path("callboard.toml").write_text("router.max_attempts = 2")
    assert load(None).router.max_attempts == 2
    Path("callboard.toml").write_text("\nrouter.max_attempts = 0")
    with pytest.raises(InvalidSettings, match=r"^callboard\.toml:2: router\.max_attempts must"):
        load(None)


def test_a_file_that_was_asked_for_must_be_readable(tmp_path):
    """A path that leads nowhere, or to a folder, is an error that names it."""
    for path, said in [(tmp_path / "none.toml", "there is no such file"), (tmp_path, "can't be read: Is a directory")]:
        with pytest.raises(InvalidSettings) as caught:
            load(path)
        assert str(caught.value) == f"{path}: {said}"


def test_a_file_may_come_from_any_editor(tmp_path):
    """A byte-order mark and Windows line ends are fine; another encoding is told with its line."""
    file = tmp_path / "callboard.toml"
    file.write_bytes(b"\xef\xbb\xbfdata = 'x'\r\n[nats]\r\nport = 1\r\n")
    assert load(file) == Settings(data="x", nats=Nats(port=1))
    file.write_bytes("[nats]\n# naïve".encode("latin-1"))
    with pytest.raises(InvalidSettings) as caught:
        load(file)
    assert str(caught.value) == f"{file}:2: not valid TOML: the file must be UTF-8 text"


def test_a_policy_of_another_package_is_known(tmp_path, monkeypatch):
    """An entry point in the group ``callboard.policies`` makes its name a valid policy."""
    package = tmp_path / "ours-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[callboard.policies]\nthrifty = ours:Thrifty\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert parse('router.policy = "thrifty"', "callboard.toml").router.policy == "thrifty"
    (said,) = mistakes('router.policy = "thrify"')
    assert said.endswith('"fastest", "thrifty", got "thrify"; did you mean "thrifty"?')


def test_cells_are_read_and_can_be_told_to_other_processes():
    """As they are written; shards in their shortest form."""
    text = '[[cells]]\nshards = "32-40, 41-63"\nurl = "nats://b:4222"\n[[cells]]\nshards = "0-31"\ndata = "here"\n'
    settings = parse(text, "callboard.toml")
    assert [str(cell) for cell in settings.cells] == ["cell 32-63 (nats://b:4222)", "cell 0-31 (here)"]
    assert [len(cell.held) for cell in settings.cells] == [32, 32]
    assert msgspec.json.decode(msgspec.json.encode(settings), type=Settings) == settings
