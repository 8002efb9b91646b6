"""`dragoman serve`: OpenAI's audio API, and a page, over one model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dragoman.cli.console import say
from dragoman.cli.flags import with_flags
from dragoman.cli.options import BatchedLoadFlags, EngineOption, ModelOption, read_targets, resolve_model
from dragoman.errors import DragomanError

if TYPE_CHECKING:
    from dragoman.inference.options import LoadOptions
    from dragoman.inference.translator import Translator
    from dragoman.server.backend.translation import OpenModel
    from dragoman.server.settings import ServerSettings

_MB = 1_000_000
_LEAST_BATCH_S = 60.0
"""A replica that has so long not ended a batch hangs, however little time requests have."""

HostOption = Annotated[str, typer.Option(help="The address to listen on; others than this machine's need a key.")]
PortOption = Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")]
ApiKeyOption = Annotated[
    str | None, typer.Option("--api_key", envvar="DRAGOMAN_API_KEY", help="The key that clients have to send.")
]
AllowNoKeyOption = Annotated[
    bool,
    typer.Option("--allow_no_key", help="Serve other machines without a key; behind a proxy that checks who asks."),
]
ServedModelNameOption = Annotated[
    list[str] | None,
    typer.Option("--served_model_name", help="What clients may call the model, repeatable; its own name by default."),
]
AllowedOriginsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed_origins", help="Other origins whose pages may ask, such as https://example.org; repeatable."
    ),
]
AllowedHostsOption = Annotated[
    list[str] | None, typer.Option("--allowed_hosts", help="Host names that the server answers to; repeatable.")
]
WyomingPortOption = Annotated[
    int | None,
    typer.Option(
        "--wyoming_port", min=1, max=65535, help="The port for Home Assistant's voice assistants; none by default."
    ),
]
WorkersOption = Annotated[
    int, typer.Option(min=0, help="Replicas of the model, a process each; 0: one, in the server's own process.")
]
JobsDirOption = Annotated[
    Path | None, typer.Option("--jobs_dir", help="Where jobs are kept across restarts; without it there are none.")
]
JobsUrlOption = Annotated[
    str | None,
    typer.Option(
        "--jobs_url",
        envvar="DRAGOMAN_JOBS_URL",
        help="A Postgres database for jobs, which servers can share, as postgresql://user@host/name.",
    ),
]
MaxFileOption = Annotated[int, typer.Option("--max_file_mb", min=1, help="The largest file, in MB.")]
MaxDurationOption = Annotated[
    float, typer.Option("--max_duration_s", min=1, help="The longest recording, and live session, in seconds.")
]
MaxRequestsOption = Annotated[int, typer.Option("--max_requests", min=1, help="Requests at once.")]
RequestTimeoutOption = Annotated[
    float, typer.Option("--request_timeout_s", min=1, help="The longest that one request may take, in seconds.")
]


@with_flags
def serve(
    load: BatchedLoadFlags,
    model: ModelOption = None,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8000,
    api_key: ApiKeyOption = None,
    allow_no_key: AllowNoKeyOption = False,
    served_model_name: ServedModelNameOption = None,
    allowed_origins: AllowedOriginsOption = None,
    allowed_hosts: AllowedHostsOption = None,
    wyoming_port: WyomingPortOption = None,
    engine: EngineOption = "torch",
    workers: WorkersOption = 0,
    jobs_dir: JobsDirOption = None,
    jobs_url: JobsUrlOption = None,
    max_file_mb: MaxFileOption = 1000,
    max_duration_s: MaxDurationOption = 4 * 3600.0,
    max_requests: MaxRequestsOption = 32,
    request_timeout_s: RequestTimeoutOption = 3600.0,
) -> None:
    """Serve transcripts and translations to OpenAI's clients and to a browser (docs/server.md).

    Ctrl-C ends it; requests that are on their way are still answered.
    """
    try:
        from dragoman.server.app import create_app
        from dragoman.server.run import address_of, listening, run
        from dragoman.server.settings import ServerSettings
    except ModuleNotFoundError as error:
        raise DragomanError(f"The server needs {error.name}; run `pip install 'dragoman[serve]'`.") from error
    settings = ServerSettings(
        host=host,
        port=port,
        api_key=api_key or None,
        allow_no_key=allow_no_key,
        allowed_origins=tuple(allowed_origins or ()),
        allowed_hosts=tuple(allowed_hosts or ()),
        served_model_names=tuple(served_model_name or ()),
        wyoming_port=wyoming_port,
        workers=workers,
        jobs_dir=jobs_dir,
        jobs_url=jobs_url or None,
        max_file_bytes=max_file_mb * _MB,
        max_duration_s=max_duration_s,
        max_live_s=max_duration_s,
        max_requests=max_requests,
        request_timeout_s=request_timeout_s,
    )
    folder = resolve_model(model, read_targets(["all"]), load.device, load.threads)
    logging.getLogger("dragoman.server").setLevel(logging.INFO)
    app = create_app(settings, _opened(engine, folder, load, settings))
    listener = listening(settings)
    say(f"http://{address_of(host, listener.getsockname()[1])} is served; the model is being loaded. Ctrl-C ends.")
    run(app, settings, listener)


def _opened(engine: str, folder: Path, load: BatchedLoadFlags, settings: ServerSettings) -> OpenModel:
    """The model in this process, or in one for each worker. Raises DragomanError."""
    from dragoman.server.backend.workers import open_model, open_processes, replica_devices

    options, workers = load.read(), settings.workers
    if not workers:
        return open_model(_reader(engine, folder, options, workers))
    devices = replica_devices(options.device, workers)
    reads = [_reader(engine, folder, replace(options, device=device), workers) for device in devices]
    return open_processes(reads, max(_LEAST_BATCH_S, settings.request_timeout_s), load.threads)


def _reader(engine: str, folder: Path, load: LoadOptions, workers: int) -> Callable[[], Translator]:
    """What loads the model; another process can call it. Raises DragomanError."""
    if engine == "vllm":
        from dragoman.engines.vllm.translator import VllmTranslator, check_load_options

        if workers:
            raise DragomanError("--workers is not for vLLM, which has processes of its own; leave it or --engine out.")
        check_load_options(load)
        return partial(VllmTranslator.from_pretrained, folder, load)
    from dragoman.inference.translator import Translator

    return partial(Translator.from_pretrained, folder, load)
