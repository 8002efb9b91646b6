// A recording and what is made of it: sent, heard, edited, kept.

import { ServerError, translate } from '../io/api.js';
import { History } from './history.js';
import { segmentFrom } from './segments.js';

const KEPT = ['name', 'source', 'targets', 'words', 'multilingual', 'state', 'duration', 'heard', 'warnings', 'error'];
const MOST_TRIES = 60; // while the server is busy, some minutes

export class Session {
  /** `state`: ready, sending, hearing, busy (waiting for its turn), done, broken, stopped. */
  state = 'ready';
  sent = 0;
  position = 0;
  duration = null;
  heard = 0; // where the last segment that came ends, in seconds; a broken connection is taken up from there
  warnings = [];
  error = null;
  history = new History();
  #abort = null;

  constructor({ file, name = file?.name ?? 'recording', source = '', targets = [], words = '', multilingual = false }) {
    Object.assign(this, { file, name, source, targets, words, multilingual });
  }

  get running() {
    return ['sending', 'hearing', 'busy'].includes(this.state);
  }

  /** Ask the server; `changed` is called whenever there is something to show. Lines that are there already stay. */
  async run(model, changed) {
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    this.error = null;
    try {
      for (let tries = 1; ; tries++) {
        try {
          this.#finish(await this.#ask(model, signal, changed));
          break;
        } catch (error) {
          if (tries === MOST_TRIES || error.status !== 429) throw error;
          this.state = 'busy';
          changed();
          await pause(1000 * (error.retryAfter ?? 5), signal);
        }
      }
    } catch (error) {
      this.state = signal.aborted ? 'stopped' : 'broken';
      this.error = signal.aborted ? null : explained(error);
    }
    this.#abort = null;
    changed();
  }

  stop() {
    this.#abort?.abort(new DOMException('stopped', 'AbortError'));
  }

  #ask(model, signal, changed) {
    Object.assign(this, { state: 'sending', sent: 0, position: 0, hearingSince: null });
    changed();
    const before = this.heard;
    return translate(this.file, this.#fields(model), {
      signal,
      onSent: (share) => {
        this.sent = share;
        if (share === 1 && this.state === 'sending') Object.assign(this, { state: 'hearing', hearingSince: Date.now() });
        changed();
      },
      onSegment: (event) => {
        Object.assign(this, { state: 'hearing', position: event.position ?? event.end });
        this.hearingSince ??= Date.now();
        if (event.start >= before - 0.01) {
          this.history.append(segmentFrom(event));
          this.heard = event.end;
        }
        changed();
      },
    });
  }

  #fields(model) {
    const fields = [
      ['model', model.id],
      ['response_format', 'verbose_json'],
      ['stream', 'true'],
      ...this.targets.map((code) => ['target_language', code]),
    ];
    if (this.source) fields.push(['language', this.source]);
    if (this.words.trim() && model.takes_keywords) fields.push(['hotwords', this.words.trim().split(/\s*[,\n]\s*/).join(',')]);
    if (this.multilingual && !this.source) fields.push(['multilingual', 'true']);
    return fields;
  }

  #finish(done) {
    this.state = 'done';
    this.duration = done.duration ?? this.duration;
    this.warnings = done.warnings ?? [];
  }

  /** 0..1 of the recording that was heard; null where its duration is not known. */
  get share() {
    return this.duration ? Math.min(1, this.position / this.duration) : null;
  }

  /** Seconds until all is heard, once there is something to tell it from; null before. */
  get left() {
    const worked = (Date.now() - this.hearingSince) / 1000;
    if (!this.share || worked < 2) return null;
    return (worked * (1 - this.share)) / this.share;
  }

  toStored() {
    const { segments, past, future } = this.history;
    const kept = Object.fromEntries(KEPT.map((name) => [name, this[name]]));
    return { ...kept, error: this.error?.message ?? null, segments, past, future };
  }

  static fromStored(stored, file) {
    const session = new Session({ ...stored, file });
    for (const name of KEPT) session[name] = stored[name];
    session.error = stored.error && new ServerError(stored.error);
    session.history = History.fromStored(stored);
    if (session.running || session.state === 'ready') session.state = 'broken'; // the page was closed in between
    return session;
  }
}

function explained(error) {
  return error instanceof ServerError ? error : new ServerError(`The page failed: ${error.message}`);
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, ms);
    signal.addEventListener('abort', () => reject(signal.reason));
  });
}
