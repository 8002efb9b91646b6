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
from dragoman.server.backend.jobs import JobQueue, JobStatus, RunningJobs, StoredJob, TooManyJobs
from dragoman.server.backend.tasks import RecordingJob
from dragoman.server.errors_api import ApiError, api_error
from dragoman.server.state import ServerState, state_of

router = APIRouter(responses=ERRORS)
_JOB: Final = "transcribe"
_NO_RESULT: dict[JobStatus, str] = {
    "queued": "The job waits and has no result yet; GET /v1/jobs/{} says how it goes.",
    "running": "The job is being done and has no result yet; GET /v1/jobs/{} says how it goes.",
    "completed": "The job has just been completed; ask again.",
    "failed": "The job has failed; GET /v1/jobs/{} says why.",
    "cancelled": "The job was cancelled; it has no result.",
}


@router.post("/v1/jobs", status_code=202, **{**FORM_ROAD, "responses": ERRORS})
async def create(request: Request) -> Response:
    """Take a recording with the fields of `/v1/audio/transcriptions`; the answer comes at once, the result later."""
    state = state_of(request)
    running, queue = _jobs(state)
    form, file = await read_form(request, state.settings.max_file_bytes)
    try:
        check_model(state, form.model)
        if form.stream:
            raise ApiError(400, "stream: a job has no stream; ask for its status.", "stream", "invalid_value")
        recording_work(form, state.model.translator, form_targets(form, _JOB), _JOB)
        job = await run_in_threadpool(queue.add, _JOB, form.model_dump_json(exclude_defaults=True), file.file)
    except TooManyJobs as error:
        raise ApiError(429, str(error), None, "too_many_jobs", {"Retry-After": "60"}) from None
    finally:
        await file.close()
    return JSONResponse(_shown(job, running), 202)


@router.get("/v1/jobs")
def listed(request: Request) -> dict[str, Any]:
    """The newest hundred."""
    running, queue = _jobs(state_of(request))
    return {"object": "list", "data": [_shown(job, running) for job in queue.all()]}


@router.get("/v1/jobs/{name}")
def status(request: Request, name: str) -> dict[str, Any]:
    """What has become of it."""
    running, queue = _jobs(state_of(request))
    return _shown(_found(queue, name), running)


@router.get("/v1/jobs/{name}/result", response_class=Response)
def result(request: Request, name: str) -> Response:
    """In the format that was asked for."""
    _, queue = _jobs(state_of(request))
    job = _found(queue, name)
    made = queue.result(name)
    if made is None:
        raise ApiError(404, _NO_RESULT[job.status].format(name), "name", f"job_{job.status}")
    return Response(made[1], media_type=made[0])


@router.post("/v1/jobs/{name}/cancel")
def cancel(request: Request, name: str) -> dict[str, Any]:
    """Stop it, if it has not ended."""
    running, queue = _jobs(state_of(request))
    _found(queue, name)
    queue.cancel(name)
    return _shown(_found(queue, name), running)


@router.delete("/v1/jobs/{name}")
def delete(request: Request, name: str) -> dict[str, Any]:
    """Stop it and forget it, its result too."""
    _, queue = _jobs(state_of(request))
    _found(queue, name)
    queue.cancel(name)
    queue.delete(name)
    return {"id": name, "object": "dragoman.job", "deleted": True}


def running_jobs(state: ServerState) -> RunningJobs:
    """How this server does them."""

    def begin(job: StoredJob, descriptor: int) -> RecordingJob:
        form, task = _form(job), _task(job)
        work = recording_work(form, state.model.translator, form_targets(form, task), task)
        return RecordingJob(state.model, work, descriptor, state.settings.max_duration_s, state.metrics)

    def finish(job: StoredJob, work: RecordingJob) -> tuple[str, str]:
        form, task = _form(job), _task(job)
        made = work.result(list(work.segments()))
        targets = form_targets(form, task) or work.options.targets
        warnings = answer_warnings(form, made, work)
        whole = Answer(made, task, targets, work.recording.duration_s, warnings, form.subtitles)
        answer = whole.response(form.response_format)
        return answer.headers["content-type"], bytes(answer.body).decode()

    def tell(error: Exception) -> str:
        return json.dumps(api_error(error, "file").body["error"])

    return RunningJobs(begin, finish, tell)


def _form(job: StoredJob) -> TranscriptionForm:
    return TranscriptionForm.model_validate_json(job.form)


def _task(job: StoredJob) -> RoadTask:
    return "translate" if job.road == "translate" else "transcribe"


def _jobs(state: ServerState) -> tuple[RunningJobs, JobQueue]:
    if state.jobs is None:
        raise ApiError(404, "There are no jobs here; start the server with --jobs_dir or --jobs_url.", None, "no_jobs")
    if state.running is None:
        raise ApiError(503, "The model is being loaded.", None, "not_ready", {"Retry-After": "5"})
    return state.running, state.jobs


def _found(queue: JobQueue, name: str) -> StoredJob:
    job = queue.get(name)
    if job is None:
        raise ApiError(404, f"There is no job {name!r}.", "name", "job_not_found")
    return job


def _shown(job: StoredJob, running: RunningJobs) -> dict[str, Any]:
    return {
        "id": job.id,
        "object": "dragoman.job",
        "status": job.status,
        "created_at": round(job.created),
        "ended_at": None if job.ended is None else round(job.ended),
        "heard_s": running.heard_s(job.id),
        "error": None if job.error is None else json.loads(job.error),
    }
