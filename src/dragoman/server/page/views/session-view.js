// One recording: how far it is, its player, its lines, and what to do with them.

import { html, LitElement, nothing } from '../vendor/lit.js';
import { nameOf } from '../model/languages.js';
import { doubtOf, indexAt, spokenLanguage, TRANSCRIPT } from '../model/segments.js';
import { clock, roughly } from '../model/time.js';
import { icon } from './icons.js';
import './audio-player.js';
import './download-dialog.js';
import './transcript-table.js';

export class SessionView extends LitElement {
  static properties = {
    session: {},
    model: {},
    version: {}, // of the session, which is changed in place
    active: { state: true },
    said: { state: true }, // what was just done, for screen readers
    playing: { state: true },
  };

  constructor() {
    super();
    this.active = -1;
    this.sized = new ResizeObserver(() => this.style.setProperty('--player', `${this.player?.offsetHeight ?? 0}px`));
    this.shortcuts = (event) => this.#shortcut(event);
  }

  createRenderRoot() {
    return this;
  }

  connectedCallback() {
    super.connectedCallback();
    addEventListener('keydown', this.shortcuts);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    removeEventListener('keydown', this.shortcuts);
    this.sized.disconnect();
  }

  firstUpdated() {
    this.querySelector('h1').focus({ preventScroll: true }); // what had the focus is gone
  }

  updated() {
    if (this.player) this.sized.observe(this.player); // lines scroll below it
  }

  get player() {
    return this.querySelector('audio-player');
  }

  get table() {
    return this.querySelector('transcript-table');
  }

  #tell(name) {
    this.dispatchEvent(new CustomEvent(name));
  }

  #shortcut(event) {
    if (document.querySelector('dialog[open]')) return;
    const typing = event.target.closest?.('input, textarea, select');
    const control = event.ctrlKey || event.metaKey;
    const playing = {
      KeyJ: (player) => player.seek(player.seconds - 3),
      KeyK: (player) => player.toggle(),
      KeyL: (player) => player.seek(player.seconds + 3),
    }[event.code];
    if (event.altKey && playing && this.session.file) playing(this.player);
    else if (event.key === 'Escape' && !typing && this.session.file) this.player.toggle();
    else if (control && !typing && event.code === 'KeyZ') this.#step(event.shiftKey ? 'redo' : 'undo');
    else if (control && !typing && event.code === 'KeyY') this.#step('redo');
    else return;
    event.preventDefault();
  }

  async #step(way) {
    const index = this.session.history[way]();
    if (index === null) return;
    this.said = way === 'undo' ? 'Undone.' : 'Done again.';
    this.#tell('changed');
    await this.updateComplete;
    await this.table.updateComplete;
    this.table.focusRow(index);
  }

  #replace({ at, count, segments, said }) {
    this.said = said;
    this.session.history.replace(at, count, segments);
    this.#tell('changed');
  }

  #heard({ seconds, playing }) {
    const { segments } = this.session.history;
    this.playing = playing;
    this.active = seconds > 0 || playing ? indexAt(segments, seconds) : -1;
  }

  /** Those with something to read in them; a language that is the spoken one stands there already. */
  #columns() {
    const { segments } = this.session.history;
    const targets = this.session.targets.filter(
      (code) => !segments.length || segments.some(({ language }) => language !== code),
    );
    const writes = this.model?.writes_transcripts !== false || segments.some(({ text }) => text);
    return writes || !targets.length ? [TRANSCRIPT, ...targets] : targets;
  }

  #nextDoubt(doubted) {
    const after = this.active;
    const next = doubted.find((index) => index > after) ?? doubted[0];
    this.active = next;
    this.player?.seek(this.session.history.segments[next].start);
    this.table.focusRow(next);
  }

  #progress() {
    const { session } = this;
    if (session.state === 'sending') return { share: session.sent, text: `Sending, ${Math.round(100 * session.sent)} %` };
    if (session.state === 'busy') return { share: null, text: 'The server is busy; waiting for a place' };
    const { share, left, position, duration } = session;
    if (!position) return { share: null, text: 'Listening' };
    const till = left === null ? '' : `, ${roughly(left)} left`;
    return { share, text: duration ? `${clock(position)} of ${clock(duration)}${till}` : `${clock(position)} heard` };
  }

  #state() {
    const { session } = this;
    const count = session.history.segments.length;
    if (session.running) {
      const { share, text } = this.#progress();
      return html`<div class="progress">
        <progress max="1" value=${share ?? nothing} aria-label="Progress"></progress>
        <span class="said-progress">${text}</span>
        <button type="button" class="button small" @click=${() => session.stop()}>Cancel</button>
      </div>`;
    }
    const again = session.file
      ? html`<button type="button" class="button small" @click=${() => this.#tell('again')}>${count ? 'Continue' : 'Try again'}</button>`
      : nothing;
    if (session.state === 'broken') {
      const kept = count ? ` What was heard, up to ${clock(session.heard)}, is kept.` : '';
      const what = session.error?.message ?? 'The page was closed before all was heard.';
      return html`<div class="notice wrong" role="alert"><p>${what}${kept}</p>${again}</div>`;
    }
    if (session.state === 'stopped') {
      return html`<div class="notice"><p>Stopped at ${clock(session.heard)}.</p>${again}</div>`;
    }
    return session.warnings?.length ? html`<div class="notice"><p>${session.warnings.join(' ')}</p></div>` : nothing;
  }

  /** For screen readers: what changes, a few times rather than with each line. */
  #status() {
    const { session } = this;
    if (this.said) return this.said;
    if (session.state === 'done') return `All is heard: ${session.history.segments.length} lines.`;
    if (session.state === 'sending') return 'Sending the recording.';
    if (session.state === 'busy') return 'The server is busy.';
    if (session.state !== 'hearing') return '';
    const quarter = Math.floor(4 * (session.share ?? 0));
    return quarter ? `${25 * quarter} percent heard.` : 'Listening.';
  }

  #summary(segments, spoken) {
    const { session } = this;
    const parts = [];
    if (session.duration) parts.push(clock(session.duration));
    parts.push(segments.length === 1 ? '1 line' : `${segments.length} lines`);
    if (spoken) parts.push(session.source ? nameOf(spoken) : `${nameOf(spoken)}, detected`);
    return parts.join(' · ');
  }

  #toolbar(segments, spoken, doubted) {
    const { past, future } = this.session.history;
    return html`<header class="heading">
      <div class="about">
        <h1 dir="auto" tabindex="-1">${this.session.name}</h1>
        <p class="soft">${this.#summary(segments, spoken)}</p>
      </div>
      <div class="actions">
        ${doubted.length
          ? html`<button type="button" class="button doubts" @click=${() => this.#nextDoubt(doubted)}>
              <span class="doubt"></span><span>${doubted.length} doubtful</span>${icon('next')}
            </button>`
          : nothing}
        <span class="pair">
          <button type="button" class="button square" aria-label="Undo" title="Undo" ?disabled=${!past.length}
            @click=${() => this.#step('undo')}>${icon('undo')}</button>
          <button type="button" class="button square" aria-label="Redo" title="Redo" ?disabled=${!future.length}
            @click=${() => this.#step('redo')}>${icon('redo')}</button>
        </span>
        <button type="button" class="button" @click=${() => this.#tell('new')}><span>New<span class="long"> recording</span></span></button>
        <button type="button" class="button primary" ?disabled=${!segments.length}
          @click=${() => this.querySelector('download-dialog').open()}>${icon('download')}<span>Download</span></button>
      </div>
    </header>`;
  }

  #lines(segments, columns, spoken) {
    if (segments.length) {
      return html`<transcript-table .segments=${segments} .columns=${columns} .spoken=${spoken} .active=${this.active}
        .following=${this.playing} .silent=${!this.session.file} .names=${this.model}
        @play=${(event) => this.player.play(event.detail)} @lines=${(event) => this.#replace(event.detail)}
        @editing=${() => this.player?.pause()}></transcript-table>`;
    }
    if (this.session.running) return html`<p class="empty soft">The first lines appear here as soon as they are heard.</p>`;
    if (this.session.state === 'done') return html`<p class="empty">No speech was found in this recording.</p>`;
    return nothing;
  }

  render() {
    const { segments } = this.session.history;
    const spoken = spokenLanguage(segments);
    const columns = this.#columns();
    const doubted = segments.flatMap((segment, index) => (columns.some((column) => doubtOf(segment, column)) ? [index] : []));
    return html`<div class="session">
      ${this.#toolbar(segments, spoken, doubted)} ${this.#state()}
      <p class="hidden" role="status">${this.#status()}</p>
      ${this.session.file
        ? html`<audio-player .file=${this.session.file} .segments=${segments} .columns=${columns} @time=${(event) => this.#heard(event.detail)}
            @duration=${(event) => this.dispatchEvent(new CustomEvent('duration', { detail: event.detail }))}></audio-player>`
        : nothing}
      ${this.#lines(segments, columns, spoken)}
      <download-dialog .session=${this.session} .columns=${columns} @key=${() => this.#tell('key')}></download-dialog>
    </div>`;
  }
}

customElements.define('session-view', SessionView);
