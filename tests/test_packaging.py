"""Published package is whole: README's commands, version, data, extras, pins, licence, no more."""

from __future__ import annotations

import configparser
import fnmatch
import hashlib
import importlib.metadata
import importlib.resources
import os
import re
import shutil
import subprocess
import venv
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import nas_engine

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("nas_engine", "search_spaces", "device_profiles")
MAX_FILE_BYTES = 2**20
APACHE_2_SHA256 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""Of https://www.apache.org/licenses/LICENSE-2.0.txt."""


def read_setup() -> configparser.ConfigParser:
    """Return setup.cfg."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string((ROOT / "setup.cfg").read_text(encoding="utf-8"))
    return parser


def lines(text: str) -> list[str]:
    """Return the entries of a list in setup.cfg."""
    return [
        line.strip()
        for line in text.splitlines()
        if line.strip() and not line.strip().startswith("#")
    ]


def requirements(extra: str | None = None) -> list[Requirement]:
    """Return what an extra (or, without one, the package itself) requires, parsed."""
    setup = read_setup()
    text = (
        setup["options"]["install_requires"]
        if extra is None
        else setup["options.extras_require"][extra]
    )
    return [Requirement(line) for line in lines(text)]


def outside(extra: str | None = None) -> list[Requirement]:
    """Return what an extra requires of others, its own extras resolved."""
    found = []
    for requirement in requirements(extra):
        own = requirement.name == "nas-search"
        found += (
            [other for name in sorted(requirement.extras) for other in outside(name)]
            if own
            else [requirement]
        )
    return found


@cache
def project_files() -> tuple[Path, ...]:
    """Return the files of the project: those git tracks or would track; without git, all but caches
    and builds.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    git = [
        "git",
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    if (ROOT / ".git").exists():
        done = subprocess.run(
            git,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
        names = sorted({os.fsdecode(name) for name in done.stdout.split(b"\0") if name})
        return tuple(path for path in (ROOT / name for name in names) if path.is_file())
    skipped = re.compile(
        r"(^|/)(\.(?!ci/|gitignore$)[^/]*|__pycache__|[^/]*\.egg-info|build|dist|venv|runs)(/|$)"
    )
    return tuple(
        path
        for path in sorted(ROOT.rglob("*"))
        if path.is_file() and not skipped.search(path.relative_to(ROOT).as_posix())
    )


def readme_command(name: str) -> str:
    """Return the one line in the fenced block that follows ``<!-- ci: NAME -->`` in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(
        rf"^<!-- ci: {name} -->\n```[a-z]*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL
    )
    assert len(blocks) == 1, (
        f"README.md: expected one fenced block right after a line '<!-- ci: {name} -->', found "
        f"{len(blocks)}"
    )
    block: list[str] = blocks[0].splitlines()
    assert len(block) == 1, f"README.md: the command '{name}' must be one line"
    return block[0]


class TestReadme:
    def test_test_command(self) -> None:
        command = readme_command("test")
        assert command.startswith("python3 -m venv .venv && ")
        assert "-c constraints.txt" in command
        assert "-e '.[test]'" in command
        assert command.endswith(" && .venv/bin/python -m pytest -n 2")

    def test_main_command(self) -> None:
        command = readme_command("main")
        assert command.startswith("python3 -m venv .venv && ")
        assert "-c constraints.txt '.[run]'" in command
        assert command.endswith(" && .venv/bin/nas-search run")
        assert ".venv/bin/nas-search --device cortex-m7 --sram 256k --flash 1m" in (
            ROOT / "README.md"
        ).read_text(encoding="utf-8")

    def test_ci_reads_the_readme(self) -> None:
        script = ROOT / ".ci" / "run"
        assert os.access(script, os.X_OK)
        assert '"<!-- ci: $1 -->"' in script.read_text(encoding="utf-8")
        subprocess.run(
            ["bash", "-n", str(script)], check=True, timeout=60, stdin=subprocess.DEVNULL
        )


class TestContainer:
    def test_command_of_the_dockerfile_installs_a_search(self, tmp_path: Path) -> None:
        text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
        (command,) = re.findall(r"^RUN (.*)$", text, flags=re.MULTILINE)
        (entry,) = re.findall(r'^ENTRYPOINT \["(.*)"\]$', text, flags=re.MULTILINE)
        assert 'ARG EXTRAS=""' in text
        assert "COPY . /src" in text
        source, place = tmp_path / "src", tmp_path / "venv"
        for path in project_files():  # pip builds in the tree that it is given
            copy = source / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        venv.create(place, with_pip=True)
        environment = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "EXTRAS": ""}
        for line in (command.replace("/src", str(source)), f"{entry} spaces"):
            done = subprocess.run(
                ["bash", "-euc", line],
                cwd=tmp_path,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 0, done.stderr
        assert "mobilenet-32" in done.stdout

    def test_workflow_runs_what_is_run_here(self) -> None:
        text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
        assert re.findall(r"run: (.*)$", text, flags=re.MULTILINE) == [".ci/run"]
        (version,) = re.findall(r'python-version: "(.*)"', text)
        classifiers = lines(read_setup()["metadata"]["classifiers"])
        versions = [one for one in classifiers if re.search(r":: 3\.\d+$", one)]
        assert versions == [f"Programming Language :: Python :: {version}"]


class TestVersion:
    def test_is_a_version(self) -> None:
        assert str(Version(nas_engine.__version__)) == nas_engine.__version__

    def test_stands_in_one_place(self) -> None:
        assert read_setup()["metadata"]["version"] == "attr: nas_engine.__version__"

    def test_is_in_the_changelog(self) -> None:
        assert f"\n## [{nas_engine.__version__}]" in (ROOT / "CHANGELOG.md").read_text(
            encoding="utf-8"
        )

    def test_installed_is_this_one(self) -> None:
        try:
            installed = importlib.metadata.version("nas-search")
        except importlib.metadata.PackageNotFoundError:
            pytest.skip("nas-search is not installed here; run the README's test command")
        assert installed == nas_engine.__version__, "install again: the version has changed since"


class TestData:
    @pytest.mark.parametrize("package", ["device_profiles", "search_spaces"])
    def test_is_there(self, package: str) -> None:
        names = [
            entry.name for entry in importlib.resources.files(package).joinpath("data").iterdir()
        ]
        assert any(name.endswith(".yaml") for name in names)

    def test_every_file_in_a_package_is_installed(self) -> None:
        patterns = read_setup()["options.package_data"]
        missed = []
        for path in project_files():
            package, *rest = path.relative_to(ROOT).parts
            if package not in PACKAGES or path.suffix == ".py":
                continue
            inside = "/".join(rest)
            own, common = lines(patterns.get(package, "")), lines(patterns["*"])
            if not any(fnmatch.fnmatch(inside, pattern) for pattern in own) and not any(
                fnmatch.fnmatch(path.name, p) for p in common
            ):
                missed.append(f"{package}/{inside}")
        assert missed == [], "add them to [options.package_data] in setup.cfg"

    def test_types_are_published(self) -> None:
        assert (ROOT / "nas_engine" / "py.typed").is_file()


class TestRequirements:
    def test_every_extra_parses(self) -> None:
        extras = read_setup()["options.extras_require"]
        assert {"train", "refine", "export", "tflite-runtime", "test", "all"} <= set(extras)
        assert all(requirements(extra) for extra in extras)

    def test_the_search_installs_without_optional_packages(self) -> None:
        names = {requirement.name for requirement in requirements()}
        assert names == {"numpy", "pyyaml", "click", "matplotlib", "tqdm"}

    def test_search_needs_no_torch(self) -> None:
        assert "torch" not in {requirement.name for requirement in requirements()}

    def test_all_names_extras_that_exist(self) -> None:
        (everything,) = requirements("all")
        assert everything.name == "nas-search"
        assert (
            {"train", "export", "test"}
            <= everything.extras
            <= set(read_setup()["options.extras_require"])
        )

    @pytest.mark.parametrize(
        ("extra", "name", "before"),
        [
            ("train", "torch", "2.5.1"),  # CVE-2025-32434: weights_only could be left
            ("train", "pillow", "10.2.0"),  # CVE-2023-4863, CVE-2023-50447, CVE-2024-28219
            ("export", "onnx", "1.20.1"),  # CVE-2024-5187, CVE-2025-51480, CVE-2026-27489
            (None, "tqdm", "4.66.2"),  # CVE-2024-34062
            (None, "pyyaml", "5.3.1"),  # CVE-2020-14343
        ],
    )
    def test_releases_with_known_faults_are_excluded(
        self, extra: str | None, name: str, before: str
    ) -> None:
        (requirement,) = [
            each for each in (requirements(extra) if extra else requirements()) if each.name == name
        ]
        assert not requirement.specifier.contains(before)

    def test_pins_are_exact_and_within_the_ranges(self) -> None:
        text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
        pins: dict[str, str] = {}
        for requirement in map(Requirement, lines(text)):
            (specifier,) = requirement.specifier
            assert specifier.operator == "=="
            assert canonicalize_name(requirement.name) not in pins
            pins[canonicalize_name(requirement.name)] = specifier.version
        for requirement in [*outside(), *outside("test")]:
            name = canonicalize_name(requirement.name)
            assert name in pins, f"constraints.txt does not pin {name}"
            assert requirement.specifier.contains(pins[name]), (
                f"constraints.txt pins {name} outside of {requirement.specifier}"
            )


class TestContents:
    def test_finds_the_files(self) -> None:
        names = {path.relative_to(ROOT).as_posix() for path in project_files()}
        assert {
            "setup.cfg",
            "LICENSE",
            ".ci/run",
            "nas_engine/__init__.py",
            "tests/test_packaging.py",
        } <= names
        assert not any(name.startswith((".venv/", ".git/", "build/")) for name in names)

    def test_licence_is_apache_2(self) -> None:
        assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2_SHA256
        assert read_setup()["metadata"]["license"] == "Apache-2.0"

    def test_no_large_file(self) -> None:
        assert [
            str(path.relative_to(ROOT))
            for path in project_files()
            if path.stat().st_size > MAX_FILE_BYTES
        ] == []

    def test_no_path_of_one_machine(self) -> None:
        # Put together here, so that this file does not find itself.
        forbidden = [b"/" + name for name in (b"work/", b"tmp/w")]
        found = [
            str(path.relative_to(ROOT))
            for path in project_files()
            if any(text in path.read_bytes() for text in forbidden)
        ]
        assert found == []
