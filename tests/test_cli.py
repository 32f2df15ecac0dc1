"""The command `alumnus`: instant help, exit codes, one message for each mistake, clean stops."""

from __future__ import annotations

import gc
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from alumnus import cli
from alumnus.cli import run

HEAVY = ("torch", "timm", "torchvision", "numpy", "pyarrow", "pydantic")

# A verb of the test's own, beside the real ones: it says that it is there and ends as it is told to.
PROBE = """
import sys, time
from alumnus import cli
from alumnus.errors import FetchError

@cli.app.command()
def probe(how: str) -> None:
    print("ready", flush=True)
    if how == "run-error": raise FetchError("the package [x] is gone")
    if how == "surprise": raise KeyError("nobody foresaw")
    time.sleep(60)

cli.main()
"""


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("code", ["import alumnus", "from alumnus.cli import run; run(['--help'])"])
def test_nothing_heavy_is_imported_for_a_name_or_for_help(code: str) -> None:
    """Neither `import alumnus` nor `alumnus --help` waits for torch."""
    done = _python(f"import sys; {code}; print([name for name in {HEAVY} if name in sys.modules])")
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_every_verb_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Its one line holds an example or says all there is."""
    verbs = [
        "demo",
        "train",
        "recipes",
        "replay",
        "evaluate",
        "bench",
        "adapt",
        "merge",
        "consolidate",
        "predict",
        "embed",
        "report",
        "doctor",
        "schema",
        "version",
    ]
    for words in [
        *([verb] for verb in verbs),
        *(["data", verb] for verb in ("list", "info", "get", "check", "curate", "pack")),
        *(["teachers", verb] for verb in ("list", "info", "audit")),
        *(["cache", verb] for verb in ("plan", "build", "info", "verify", "prune")),
    ]:
        assert run([*words, "--help"]) == 0
        assert f"alumnus {' '.join(words)}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["evaluate"], ["MODEL [KEY=VALUE]", "split", "test", "which images are queries"]),
        (["embed"], ["MODEL IMAGES... [KEY=VALUE]", "out", "needed", "ends in .parquet"]),
        (["adapt"], ["fraction", "1.0", "of the labels", "resamples", "1000"]),
        (["predict"], ["max_bad_fraction", "1.0"]),
        (["merge"], ["MODEL...", "weights", "of the average"]),
        (["report"], ["report [OPTIONS] RUN"]),
        (
            ["train"],
            [
                "[RECIPE] [KEY=VALUE]",
                "embed_dim",
                "64",
                "width of the embedding",
                "warmup",
                "max_bad_fraction",
            ],
        ),
        (["data", "get"], ["limit_per_class"]),
        (["cache", "build"], ["precision", "of what is kept"]),
        (["teachers", "audit"], ["limit", "1000", "images of a domain"]),
    ],
)
def test_help_names_the_settings(
    words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With their defaults and what they are; not as `words... list[str]`."""
    assert run([*words, "--help"]) == 0
    said = capsys.readouterr().out
    assert "[WORDS]" not in said
    for part in parts:
        assert part in said


@pytest.mark.parametrize("flags", [[], ["-P"]])
def test_modules_of_the_current_folder_are_found(flags: list[str], tmp_path: Path) -> None:
    """As by `python -m alumnus`, behind everything installed; not with Python's own switch against that."""
    here, bin_folder = tmp_path / "here", tmp_path / "bin"
    for folder in (here, bin_folder):
        folder.mkdir()
    (here / "mine.py").write_text("def build():\n    return lambda image: image.mean((2, 3))\n")
    (here / "yaml.py").write_text("raise SystemExit('the one that is installed comes first')\n")
    command = bin_folder / "alumnus"
    command.write_text("from alumnus.cli import main\n\nmain()\n")  # as pip writes it
    words = ["teachers", "info", "python:mine:build", "size=8"]
    done = subprocess.run(
        [sys.executable, *flags, str(command), *words],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == (2 if flags else 0), done.stderr
    assert "is it in the current folder" in done.stderr if flags else "mine" in done.stdout


def test_help_of_a_verb_imports_nothing_heavy() -> None:
    """The settings are read from the source."""
    code = "from alumnus.cli import run; [run([verb, '--help']) for verb in ('train', 'evaluate', 'embed')]"
    heavy = tuple(name for name in HEAVY if name != "pydantic")
    done = _python(f"import sys; {code}; print([name for name in {heavy} if name in sys.modules])")
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench", "--suit", "gvb26"], "there is no option '--suit'; did you mean '--suite'"),
        (["bench", "--suite", "gvb26"], "--models, --out: needed"),
        (["train", "recipe.yaml", "--form", "small"], "there is no option '--form'; did you mean '--from'"),
        (["train", "steps=2", "out=a", "out=b"], "out is given twice, out=a and out=b"),
        (["bench", "--out", "a", "out=b"], "--out is given twice"),
        (["demo", "--sed=3"], "there is no option '--sed'; did you mean '--seeds'"),
        (["data", "check", "--stict"], "did you mean '--strict'"),
        (["train", "--out", "x"], "settings are words, such as out=VALUE"),
    ],
)
def test_a_misspelt_option_is_named_first(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before what is missing, with the nearest that there is."""
    assert run(words) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_verb_exits_2_and_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """`alumnus trian` is answered with train."""
    assert run(["trian"]) == 2
    assert "train" in capsys.readouterr().err


def test_a_misspelt_setting_exits_2_without_traceback() -> None:
    """One readable message on standard error, nothing on standard output."""
    done = _python("from alumnus.cli import main; main()", "train", "out=x", "data=y", "stpes=3")
    assert done.returncode == 2
    assert "stpes: unknown setting; did you mean 'steps'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "a.yaml", "b.yaml"], "unexpected word 'b.yaml'"),
        (["train", "nowhere.yaml"], "nowhere.yaml"),
        (["train", "--steps", "3"], "steps=VALUE"),
        (["evaluate"], "MODEL is missing"),
        (["embed", "student/"], "IMAGES is missing"),
        (["merge", "out=x"], "MODELS are missing"),
        (["report"], "RUN is missing"),
        (["replay"], "RUN is missing"),
        (["data", "info"], "NAME is missing"),
        (["data", "pack", "out=x"], "IMAGES is missing"),
        (["demo", "outt=x"], "did you mean 'out'"),
        (["demo", "--seeds", "0"], "seeds"),
    ],
)
def test_wrong_words_exit_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with a message that says what is wanted."""
    assert run(words) == 2
    assert message in capsys.readouterr().err


def test_a_failed_run_exits_1_with_one_message() -> None:
    """Square brackets in a message are text, not markup."""
    done = _python(PROBE, "probe", "run-error")
    assert (done.returncode, done.stderr) == (1, "failed: the package [x] is gone\n")


def test_a_surprise_exits_1_with_its_traceback() -> None:
    """What nobody foresaw must be reportable."""
    done = _python(PROBE, "probe", "surprise")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "nobody foresaw" in done.stderr


@pytest.mark.parametrize(
    ("words", "without"),
    [
        ([], ""),
        (["resume=never"], ", without resume=never, which would begin again"),
        (["--from", "student"], ", without --from, which would begin again"),
    ],
)
def test_a_command_that_would_begin_again_says_so_when_it_is_stopped(words: list[str], without: str) -> None:
    """What was saved is lost if it is repeated as it was."""
    assert cli._stopped(["train", "recipe.yaml", *words]) == f"stopped; resume with the same command{without}"


@pytest.mark.parametrize(
    ("words", "goes_on"),
    [
        (["bench", "--suite", "gvb26"], True),
        (["demo"], True),
        (["cache", "build", "recipe.yaml"], True),
        (["data", "pack", "images/"], True),
        (["cache", "verify", "store/"], False),
        (["data", "curate", "images/"], False),
        *(([verb, "x"], False) for verb in ("adapt", "consolidate", "embed", "evaluate", "merge", "predict")),
    ],
)
def test_only_commands_that_go_on_say_so(words: list[str], goes_on: bool) -> None:
    """The others begin again."""
    end = "resume with the same command" if goes_on else "the same command begins again"
    assert cli._stopped(words) == f"stopped; {end}"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_command_says_what_it_will_do(number: signal.Signals, code: int) -> None:
    """Ctrl-C and SIGTERM end a run the same way, without a traceback."""
    command = [sys.executable, "-c", PROBE, "probe", "sleep"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert "stopped; the same command begins again" in errors
    assert "Traceback" not in errors


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """For editors: the settings with their descriptions."""
    assert run(["schema"]) == 0
    assert "steps" in json.loads(capsys.readouterr().out)["properties"]


def test_data_list_names_every_set(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each."""
    from alumnus import datasets

    assert run(["data", "list"]) == 0
    lines = capsys.readouterr().out
    assert all(name in lines for name in datasets.names())


def test_doctor_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where something is missing."""
    assert run(["doctor"]) == 0
    assert "Python" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["train", "nowhere.yaml"], ["demo", "nonsense=1"]])
def test_the_garbage_collector_is_back_when_imports_are_done(words: list[str]) -> None:
    """After an error, too."""
    assert run(words) == 2
    assert gc.isenabled()


def test_a_command_that_imported_everything_ends_without_a_word() -> None:
    """Some libraries count at the end what was not collected, and say so on pages."""
    done = _python("from alumnus.cli import run; run(['train', 'nowhere.yaml'])")
    assert done.stderr.count("\n") == 1, done.stderr
