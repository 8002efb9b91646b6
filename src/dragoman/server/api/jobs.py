"""`/v1/jobs`: hours of audio, which nobody waits for with an open connection. Jobs outlive the server."""

from __future__ import annotations

import json
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from dragoman.server.api.answers import Answer, RoadTask
from dragoman.server.api.documents import ERRORS, FORM_ROAD
from dragoman.server.api.fields import TranscriptionForm, read_form
from dragoman.server.api.transcriptions import answer_warnings, check_model, form_targets, recording_work
from dragoman.server.backend.job_runner import JobRunner
from dragoman.server.backend.job_store import JobStore, StoredJob, TooManyJobs
from dragoman.server.backend.tasks import RecordingJob
from dragoman.server.errors_api import ApiError, api_error
from dragoman.server.state import ServerState, state_of

router = APIRouter(responses=ERRORS)
_JOB: Final = "transcribe"


@router.post("/v1/jobs", status_code=202, **{**FORM_ROAD, "responses": ERRORS})
async def create(request: Request) -> Response:
    """Take a recording with the fields of `/v1/audio/transcriptions`; the answer comes at once, the result later."""
    state = state_of(request)
    runner, store = _jobs(state)
    form, file = await read_form(request)
    try:
        check_model(state, form.model)
        if form.stream:
            raise ApiError(400, "stream: a job has no stream; ask for its status.", "stream", "invalid_value")
        recording_work(form, state.model.translator, form_targets(form, _JOB), _JOB)
        job = await run_in_threadpool(store.add, _JOB, form.model_dump_json(exclude_defaults=True), file.file)
    except TooManyJobs as error:
        raise ApiError(429, str(error), None, "too_many_jobs", {"Retry-After": "60"}) from None
    finally:
        await file.close()
    runner.wake()
    return JSONResponse(_shown(job, runner), 202)


@router.get("/v1/jobs")
def listed(request: Request) -> dict[str, Any]:
    """The newest hundred."""
    runner, store = _jobs(state_of(request))
    return {"object": "list", "data": [_shown(job, runner) for job in store.all()]}


@router.get("/v1/jobs/{name}")
def status(request: Request, name: str) -> dict[str, Any]:
    """What has become of it."""
    runner, store = _jobs(state_of(request))
    return _shown(_found(store, name), runner)


@router.get("/v1/jobs/{name}/result", response_class=Response)
def result(request: Request, name: str) -> Response:
    """In the format that was asked for."""
    _, store = _jobs(state_of(request))
    job = _found(store, name)
    made = store.result(name)
    if made is None:
        raise ApiError(404, f"The job is {job.status}; it has no result.", "name", f"job_{job.status}")
    return Response(made[1], media_type=made[0])


@router.post("/v1/jobs/{name}/cancel")
def cancel(request: Request, name: str) -> dict[str, Any]:
    """Stop it, if it has not ended."""
    runner, store = _jobs(state_of(request))
    _found(store, name)
    runner.cancel(name)
    return _shown(_found(store, name), runner)


@router.delete("/v1/jobs/{name}")
def delete(request: Request, name: str) -> dict[str, Any]:
    """Stop it and forget it, its result too."""
    runner, store = _jobs(state_of(request))
    _found(store, name)
    runner.cancel(name)
    store.delete(name)
    return {"id": name, "object": "dragoman.job", "deleted": True}


def start_jobs(state: ServerState, store: JobStore) -> JobRunner:
    """Do what waits."""

    def begin(job: StoredJob, descriptor: int) -> RecordingJob:
        form, task = _form(job), _task(job)
        work = recording_work(form, state.model.translator, form_targets(form, task), task)
        return RecordingJob(state.model, work, descriptor, state.settings.max_duration_s, state.metrics)

    def finish(job: StoredJob, work: RecordingJob) -> tuple[str, str]:
        form, task = _form(job), _task(job)
        made = work.result(list(work.segments()))
        targets = form_targets(form, task) or work.options.targets
        warnings = answer_warnings(form, made, work)
        answer = Answer(made, task, targets, work.recording.duration_s, warnings).response(form.response_format)
        return answer.headers["content-type"], bytes(answer.body).decode()

    def tell(error: Exception) -> str:
        return json.dumps(api_error(error, "file").body["error"])

    return JobRunner(store, state.settings.jobs_at_once, begin, finish, tell)


def _form(job: StoredJob) -> TranscriptionForm:
    return TranscriptionForm.model_validate_json(job.form)


def _task(job: StoredJob) -> RoadTask:
    return "translate" if job.road == "translate" else "transcribe"


def _jobs(state: ServerState) -> tuple[JobRunner, JobStore]:
    if state.jobs is None or state.job_store is None:
        state.model  # noqa: B018 - raises while it is being loaded; jobs begin with it
        raise ApiError(404, "There are no jobs here; start the server with --jobs_dir.", None, "no_jobs")
    return state.jobs, state.job_store


def _found(store: JobStore, name: str) -> StoredJob:
    job = store.get(name)
    if job is None:
        raise ApiError(404, f"There is no job {name!r}.", "name", "job_not_found")
    return job


def _shown(job: StoredJob, runner: JobRunner) -> dict[str, Any]:
    return {
        "id": job.id,
        "object": "dragoman.job",
        "status": job.status,
        "created_at": round(job.created),
        "ended_at": None if job.ended is None else round(job.ended),
        "heard_s": runner.heard_s(job.id),
        "error": None if job.error is None else json.loads(job.error),
    }
