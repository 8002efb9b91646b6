"""The files that a server is deployed with are read by the tools they are for, where those are here, and what they name
exists: flags, extras, ports, paths."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
import yaml

from dragoman.cli import app

if TYPE_CHECKING:
    from running_server import RunningServer

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
UNIT = (FOLDER / "dragoman.service").read_text(encoding="utf-8")
CADDYFILE = (FOLDER / "Caddyfile").read_text(encoding="utf-8")
PROGRAM = "/opt/dragoman/bin/dragoman"
PORT = 8000


def tool(name: str) -> str:
    """Where it is; beside this Python, where the extra [dev] puts it."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed here")
    return found


def compose(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def kubernetes(kind: str) -> Any:
    documents = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text(encoding="utf-8"))
    (found,) = [document for document in documents if document["kind"] == kind]
    return found


def instruction(name: str) -> Iterator[str]:
    """What stands behind each such line of the Dockerfile."""
    lines = DOCKERFILE.replace("\\\n", " ").splitlines()
    return (line.removeprefix(name).strip() for line in lines if line.startswith(f"{name} "))


def unit(name: str) -> list[str]:
    return [line.partition("=")[2] for line in UNIT.splitlines() if line.partition("=")[0] == name]


def commands() -> Iterator[tuple[str, list[str]]]:
    """The words behind `dragoman`, by where they stand."""
    (default,) = instruction("CMD")
    yield "Dockerfile", json.loads(default)
    yield "compose.yaml", compose("compose.yaml")["services"]["dragoman"]["command"]
    pod = kubernetes("Deployment")["spec"]["template"]["spec"]
    yield "kubernetes.yaml fetch", pod["initContainers"][0]["args"]
    yield "kubernetes.yaml", pod["containers"][0]["args"]
    program, *words = shlex.split(unit("ExecStart")[0].replace("%S", "/var/lib").removesuffix("$DRAGOMAN_FLAGS"))
    assert program == PROGRAM
    yield "dragoman.service", words


@pytest.mark.parametrize(("place", "words"), list(commands()), ids=[place for place, _ in commands()])
def test_each_asks_for_what_there_is(place: str, words: list[str]) -> None:
    verb, *flags = [word.replace("${DRAGOMAN_MODEL:-small}", "small") for word in words]
    group: Any = typer.main.get_command(app)
    asked = group.commands[verb].make_context(verb, flags).params
    if verb == "serve":
        from dragoman.server.settings import ServerSettings

        assert asked["port"] == PORT
        ServerSettings(host=asked["host"], api_key="key")
        if place != "dragoman.service":
            assert asked["host"] == "0.0.0.0", "a container's own loopback is nobody's"


def test_ports_agree() -> None:
    pod = kubernetes("Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert pod["ports"] == [{"name": "http", "containerPort": PORT}]
    assert kubernetes("Service")["spec"]["ports"][0]["targetPort"] == "http"
    assert list(instruction("EXPOSE")) == [str(PORT)] and f":{PORT}/ready" in DOCKERFILE
    assert f"dragoman:{PORT}}}" in CADDYFILE and "dragoman" in compose("compose.yaml")["services"]


def test_a_pod_that_is_not_ready_lives() -> None:
    from dragoman.server.guards import OPEN_PATHS

    pod = kubernetes("Deployment")["spec"]["template"]["spec"]["containers"][0]
    paths = {name: pod[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/health", "livenessProbe": "/health", "readinessProbe": "/ready"}
    assert set(paths.values()) <= OPEN_PATHS


def test_nobody_ends_it_before_its_requests_have_ended() -> None:
    from dragoman.server.settings import ServerSettings

    pod = kubernetes("Deployment")["spec"]["template"]["spec"]
    paused = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    allowed = [
        int(compose("compose.yaml")["services"]["dragoman"]["stop_grace_period"].removesuffix("s")),
        int(unit("TimeoutStopSec")[0]),
        pod["terminationGracePeriodSeconds"] - paused,
    ]
    assert min(allowed) >= ServerSettings().drain_s + 10


def test_docker_sees_what_the_package_is_built_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    copied = {name for line in instruction("COPY") if "--from" not in line for name in line.split()[:-1]}
    assert {"pyproject.toml", "src", project["readme"], *project["license-files"]} <= copied
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied == {line.removeprefix("!") for line in lines if line.startswith("!")}
    extras = next(line.partition("=")[2] for line in instruction("ARG") if line.startswith("EXTRAS"))
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()


def test_ray_takes_its_config(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray.serve", reason="Ray Serve is not installed here: pip install 'dragoman[ray,serve]'")
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(yaml.safe_load((FOLDER / "ray.yaml").read_text(encoding="utf-8")))
    (application,) = config.applications
    monkeypatch.setenv("DRAGOMAN_API_KEY", "key")
    module, _, name = application.import_path.partition(":")
    built = getattr(importlib.import_module(module), name)(application.args)
    assert {one.name for one in application.deployments} == {built._bound_deployment.name}
    assert config.http_options.port == PORT


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([tool("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["compose.yaml", "compose.cuda.yaml"])
def test_compose_files_are_of_the_specification(name: str) -> None:
    compose_spec = pytest.importorskip("compose_spec", reason="compose-spec is not installed here")
    spec = compose_spec.PyCompose.from_yaml((FOLDER / name).read_text(encoding="utf-8")).to_spec()
    assert "dragoman" in spec.services
    for service in compose(name)["services"].values():
        named = {str(volume).partition(":")[0] for volume in service.get("volumes", ())}
        assert {one for one in named if one[0] not in "./"} <= compose(name).get("volumes", {}).keys()


@pytest.mark.filterwarnings("ignore")
def test_kubernetes_takes_the_manifests() -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed here").validate
    for kind in ("PersistentVolumeClaim", "Service", "Deployment"):
        validate(kubernetes(kind), "1.30", strict=True)  # the first that knows preStop.sleep by default


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze")
    path = tmp_path / "dragoman.service"
    path.write_text(UNIT.replace(PROGRAM, sys.executable), encoding="utf-8")
    done = subprocess.run([analyze, "verify", path], capture_output=True, text=True)
    assert done.returncode == 0 and "dragoman.service" not in done.stderr, done.stderr
    rated = [analyze, "security", "--offline=true", "--threshold=20", path]
    done = subprocess.run(rated, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr  # exposed by 2.0 of 10 at most


@pytest.mark.slow
def test_through_caddy(start: Callable[..., RunningServer], tmp_path: Path) -> None:
    """TLS before a real server: the page, a stream that comes piece by piece, a WebSocket; a page of another origin is
    refused behind it too."""
    caddy, server = tool("caddy"), start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"skip_install_trust\n\tadmin off\n\thttps_port {port}\n\tauto_https disable_redirects"
    config = tmp_path / "Caddyfile"
    config.write_text(CADDYFILE.replace("skip_install_trust", options), encoding="utf-8")
    known = {"DRAGOMAN_UPSTREAM": f"127.0.0.1:{server.port}", "HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    command = [caddy, "run", "--config", config, "--adapter", "caddyfile"]
    with subprocess.Popen(command, env=known, stderr=subprocess.DEVNULL) as running:
        try:
            ask_through(f"https://localhost:{port}", tmp_path)
        finally:
            running.terminate()


def ask_through(address: str, folder: Path) -> None:
    from websockets.sync.client import connect

    trusted = ssl.create_default_context()
    authority = folder / ".local/share/caddy/pki/authorities/local/root.crt"
    ends = time.monotonic() + 60
    while True:
        try:
            trusted.load_verify_locations(authority)
            page = urllib.request.urlopen(address, context=trusted).read().decode()
            break
        except OSError:
            assert time.monotonic() < ends, "Caddy does not answer"
            time.sleep(0.2)
    assert "<title>" in page
    recording = ROOT / "examples" / "english-video.mp4"
    fields = ["-F", "model=random", "-F", "target_language=de", "-F", "stream=true", "-F", f"file=@{recording}"]
    road = f"{address}/v1/audio/transcriptions"
    curl = ["curl", "-sS", "--cacert", authority, "-w", "%{http_code}", *fields, road]
    own = subprocess.run([*curl, "-H", f"Origin: {address}"], capture_output=True, text=True).stdout
    assert own.startswith(": listening") and own.endswith("data: [DONE]\n\n200"), own
    foreign = subprocess.run([*curl, "-H", "Origin: https://example.org"], capture_output=True, text=True).stdout
    assert foreign.endswith("403"), foreign
    with connect(f"{address.replace('https', 'wss')}/v1/realtime?intent=transcription", ssl=trusted) as socket_:
        assert json.loads(socket_.recv())["type"] == "session.created"
