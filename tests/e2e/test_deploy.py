"""What stands in deploy/ and the Dockerfile, tried as far as this machine can."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="skipped: systemd-analyze is not installed here")
def test_the_unit_is_accepted(tmp_path: Path) -> None:
    """systemd's own verifier finds nothing to say."""
    unit = tmp_path / "access-monitor.service"
    shutil.copy(ROOT / "deploy" / "access-monitor.service", unit)
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    about = [line for line in done.stderr.splitlines() if "access-monitor" in line]
    assert about == []
    assert done.returncode == 0, done.stderr


def test_the_unit_is_closed() -> None:
    """Not root, nothing writable but the state, secrets as credentials."""
    unit = (ROOT / "deploy" / "access-monitor.service").read_text()
    for line in ("Type=notify", "DynamicUser=yes", "ProtectSystem=strict", "NoNewPrivileges=yes", "StateDirectory="):
        assert line in unit
    assert re.search(r"^LoadCredential=", unit, re.MULTILINE)


def test_the_image_does_not_run_as_root_and_copies_what_there_is() -> None:
    """Every COPY names something that exists, and the last USER is not root."""
    text = (ROOT / "Dockerfile").read_text()
    for names in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        for name in names.split():
            assert (ROOT / name).exists(), name
    assert re.findall(r"^USER (\S+)$", text, re.MULTILINE)[-1] not in ("root", "0")


@pytest.mark.long
def test_the_steps_of_the_dockerfile_pass_one_by_one(tmp_path: Path) -> None:
    """The first stage in a clean folder, with this Python: the wheel carries rules and templates, the command runs."""
    text = (ROOT / "Dockerfile").read_text().split("\nFROM")[1]
    source, venv = tmp_path / "src", tmp_path / "venv"
    source.mkdir()
    for line in text.splitlines():
        if line.startswith("COPY"):
            *names, _ = line.removeprefix("COPY ").split()
            for name in names:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, source / name)
        elif line.startswith("RUN"):
            step = (
                line.removeprefix("RUN ")
                .replace("/opt/access-monitor", str(venv))
                .replace("python -m", "python3 -m", 1)
            )
            done = subprocess.run(step, shell=True, cwd=source, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{step}\n{done.stderr[-2000:]}"
    done = subprocess.run(
        [venv / "bin" / "access-monitor", "rules", "test"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_the_wheel_carries_rules_and_templates(tmp_path: Path) -> None:
    """A wheel that lacks them would start and then fail."""
    done = subprocess.run(
        ["python3", "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path), str(ROOT)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for path in (*ROOT.glob("rules/**/*.*"), *ROOT.glob("templates/*/*.j2")):
        assert any(n.endswith(str(path.relative_to(ROOT))) for n in names), path
