// The server's HTTP side. All addresses are relative to the page, which may live below a proxy's path.

import { EventReader } from './events.js';

export const address = (path) => new URL(path, document.baseURI);

/** What went wrong, as a sentence for the reader; `status` is 0 where no answer came. */
export class ServerError extends Error {
  constructor(message, status = 0, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const KEY = 'dragoman.api_key';

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? '',
  set: (value) => sessionStorage.setItem(KEY, value),
};

function headers(more = {}) {
  return key.get() ? { ...more, Authorization: `Bearer ${key.get()}` } : more;
}

function errorOf(status, body, retryAfter) {
  let said = '';
  try {
    said = JSON.parse(body).error.message;
  } catch {
    // an answer of a proxy, not of the server
  }
  const seconds = Number.parseFloat(retryAfter);
  return new ServerError(said || ANSWERS[status] || `The server answered ${status}.`, status, seconds || null);
}

const ANSWERS = {
  401: 'This server asks for a key.',
  413: 'The recording is larger than the server, or a proxy before it, takes.',
  429: 'The server is busy.',
  502: 'The server cannot be reached from its proxy.',
  503: 'The server is not ready yet.',
  504: 'The proxy before the server did not wait for it.',
};

async function answered(path, options = {}) {
  let response;
  try {
    response = await fetch(address(path), { ...options, headers: headers(options.headers) });
  } catch {
    throw new ServerError('The server does not answer. Is it still running?');
  }
  if (!response.ok) {
    throw errorOf(response.status, await response.text(), response.headers.get('retry-after'));
  }
  return response;
}

/** Why the server refuses a WebSocket at `path`, which browsers do not tell; null where it would take one now. */
export async function refusal(path) {
  for (const asked of [path, 'ready']) {
    try {
      await answered(asked);
    } catch (error) {
      if (error.status !== 404) return error; // that path is for sockets alone
    }
  }
  return null;
}

/** The model that is served, and the server's limits. */
export async function served() {
  const { data, limits } = await (await answered('v1/models')).json();
  return { ...data[0], limits: limits ?? {} };
}

/** Subtitles of segments, with the lines broken as `dragoman translate` breaks them. */
export async function subtitles(segments, format, languages, divide) {
  const body = JSON.stringify({ segments, format, ...(languages.length ? { languages } : {}), divide });
  const options = { method: 'POST', body, headers: { 'content-type': 'application/json' } };
  return (await answered('v1/subtitles', options)).text();
}

/**
 * Send a recording and hear of it as it is heard. XMLHttpRequest, because `fetch` does not tell how much was sent.
 *
 * `fields` are pairs of name and value. Resolves with the event `transcript.text.done`; rejects with a ServerError, or
 * with the reason of `signal`.
 */
export function translate(file, fields, { signal, onSent, onSegment }) {
  const form = new FormData();
  for (const [name, value] of fields) form.append(name, value);
  form.append('file', file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const reader = new EventReader();
    let [read, done] = [0, null];
    const take = () => {
      const events = reader.read(request.responseText.slice(read));
      read = request.responseText.length;
      for (const event of events) {
        if (event.error) reject(new ServerError(event.error.message, 500));
        else if (event.type === 'transcript.text.segment') onSegment(event);
        else if (event.type === 'transcript.text.done') done = event;
      }
    };
    const broken = () => reject(new ServerError('The connection to the server broke.'));
    const refused = () => request.status >= 400;
    request.open('POST', address('v1/audio/transcriptions'));
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => onSent(loaded / total);
    request.onprogress = () => refused() || take();
    request.onerror = broken;
    request.onload = () => {
      if (refused()) {
        reject(errorOf(request.status, request.responseText, request.getResponseHeader('retry-after')));
        return;
      }
      take();
      if (done) resolve(done);
      else broken();
    };
    signal.addEventListener('abort', () => {
      request.abort();
      reject(signal.reason);
    });
    request.send(form);
  });
}
